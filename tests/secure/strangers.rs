//! What listens where etcd should, and is none.

use std::io::{Read, Write};
use std::net::TcpListener;

/// Something that speaks etcd's protocol as kine does: a status without a cluster and without a member. It answers
/// whatever it is asked with these bytes.
pub(crate) async fn kine() -> String {
    // StatusResponse: an empty header, and a version.
    imitation(b"\x0a\x00\x12\x063.5.13", "0").await
}

/// A gRPC server that knows none of etcd's services.
pub(crate) async fn another_grpc_server() -> String {
    imitation(b"", "12").await
}

async fn imitation(message: &'static [u8], status: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::Builder::new().handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    answer(&mut respond, message, status);
                }
            });
        }
    });
    url
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
