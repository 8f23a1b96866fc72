//! A cpio archive in the format that kernels take as an initramfs ("newc"): pure.

/// An archive being filled. Directories come by themselves.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    names: Vec<String>,
}

/// A directory that anyone may enter.
const DIRECTORY: u32 = 0o040_755;
/// A file that anyone may run: nobody but root lives there.
const FILE: u32 = 0o100_755;
const SECRET: u32 = 0o100_600;
const LINK: u32 = 0o120_777;

impl Archive {
    /// A file at an absolute path; a second one at the same path is passed over.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.put(path, FILE, content);
    }

    /// A file that only its owner may read.
    pub(super) fn secret(&mut self, path: &str, content: &[u8]) {
        self.put(path, SECRET, content);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.put(path, LINK, target.as_bytes());
    }

    /// An empty directory, for something to be mounted on.
    pub(super) fn directory(&mut self, path: &str) {
        self.put(path, DIRECTORY, &[]);
    }

    /// The archive, with its end mark.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn put(&mut self, path: &str, mode: u32, content: &[u8]) {
        let name = path.trim_start_matches('/');
        for (place, _) in name.match_indices('/') {
            self.once(&name[..place], DIRECTORY, &[]);
        }
        self.once(name, mode, content);
    }

    fn once(&mut self, name: &str, mode: u32, content: &[u8]) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
            self.entry(name, mode, content);
        }
    }

    /// Thirteen numbers of eight hexadecimal digits after the magic one: inode, mode, uid, gid, links, time, size,
    /// device and special device (two each), length of the name with its NUL, a checksum that this format leaves 0.
    /// Name and content each end on a multiple of four.
    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        let inode = self.names.len() as u32;
        let (size, length) = (content.len() as u32, name.len() as u32 + 1);
        self.bytes.extend(b"070701");
        for number in [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, length, 0] {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_stand_before_what_is_in_them_and_once() {
        let mut archive = Archive::default();
        archive.file("/bin/a", b"xyz");
        archive.file("/bin/b", b"");
        archive.file("/bin/b", b"passed over");
        assert_eq!(archive.names, ["bin", "bin/a", "bin/b"]);
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes.windows(6).filter(|six| six == b"070701").count(), 4);
    }

    #[test]
    fn a_header_is_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.entry("a", FILE, b"xyz");
        assert_eq!(archive.bytes.len(), 110 + 2 + 4);
        assert_eq!(&archive.bytes[14..22], b"000081ed");
        assert_eq!(&archive.bytes[54..62], b"00000003");
        assert_eq!(&archive.bytes[94..102], b"00000002");
        assert_eq!(&archive.bytes[110..], b"a\0xyz\0");
    }
}
