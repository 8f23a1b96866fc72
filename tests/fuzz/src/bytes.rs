//! The fuzzer's bytes, taken from the front. When they are used up, all that is asked for is zero.

/// Bytes not used yet.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'d>(pub &'d [u8]);

impl<'d> Bytes<'d> {
    /// Whether none are left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// A number below `most` (which is not 0).
    pub fn below(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % most
    }

    /// Whether the next one is odd.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// The next `N`.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// The next `most`, or as many as are left.
    pub fn take(&mut self, most: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A piece that says its own length first.
    pub fn piece(&mut self) -> &'d [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }
}
