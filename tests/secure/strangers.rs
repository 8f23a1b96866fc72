//! What listens where etcd should, and is none.

use std::io::{Read, Write};
use std::net::TcpListener;

/// What is answered to a method, and the paths and tokens that were heard.
type Answers = fn(&str) -> (&'static [u8], &'static str);
pub(crate) type Asked = std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>>;

/// Something that speaks etcd's protocol as kine does: a status without a cluster and without a member.
pub(crate) async fn kine() -> String {
    // StatusResponse: an empty header, and a version.
    imitation(|_| (b"\x0a\x00\x12\x063.5.13", "0")).await.0
}

/// A gRPC server that knows none of etcd's services.
pub(crate) async fn another_grpc_server() -> String {
    imitation(|_| (b"", "12")).await.0
}

/// An etcd that gives a token everybody knows, and does nothing else.
pub(crate) async fn with_known_token() -> (String, Asked) {
    imitation(|path| match path {
        // AuthenticateResponse: the token.
        "/etcdserverpb.Auth/Authenticate" => (b"\x12\x0et0ken-in-clear", "0"),
        // StatusResponse: a header with cluster 1 and member 1, and a version.
        "/etcdserverpb.Maintenance/Status" => (b"\x0a\x04\x08\x01\x10\x01\x12\x063.9.99", "0"),
        _ => (b"", "14"),
    })
    .await
}

async fn imitation(answers: Answers) -> (String, Asked) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let heard = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = heard.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::Builder::new().handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let path = request.uri().path().to_owned();
                    let token = request.headers().get("token").map_or("", |token| token.to_str().unwrap());
                    heard.lock().unwrap().push((path.clone(), token.to_owned()));
                    let (message, status) = answers(&path);
                    answer(&mut respond, message, status);
                }
            });
        }
    });
    (url, asked)
}

fn answer(respond: &mut h2::server::SendResponse<std::io::Cursor<Vec<u8>>>, message: &[u8], status: &str) {
    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = respond.send_response(head, false).unwrap();
    if !message.is_empty() {
        let mut framed = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
        framed.extend(message);
        body.send_data(std::io::Cursor::new(framed), false).unwrap();
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    body.send_trailers(trailers).unwrap();
}

/// A web server that knows HTTP/1 alone.
pub(crate) fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _asked = stream.read(&mut [0; 512]);
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    url
}

/// Somebody who takes connections and never says a word.
pub(crate) fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}
