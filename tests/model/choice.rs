//! Choices within one step, taken one way after the other until all were taken.

/// Answers "which?" by a list of earlier answers, and with the first possibility behind its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Chooser {
    taken: Vec<u8>,
    widths: Vec<u8>,
    next: usize,
}

impl Chooser {
    /// Takes these choices and no others.
    pub(super) fn again(taken: &[u8]) -> Self {
        Self { taken: taken.to_vec(), widths: Vec::new(), next: 0 }
    }

    /// One of so many possibilities.
    pub(super) fn one_of(&mut self, width: u8) -> u8 {
        if self.next == self.taken.len() {
            self.taken.push(0);
        }
        self.widths.truncate(self.next);
        self.widths.push(width);
        self.next += 1;
        self.taken[self.next - 1]
    }

    /// What was chosen.
    pub(super) fn taken(&self) -> &[u8] {
        &self.taken[..self.next]
    }

    /// Turns to the next way through the same step; false if there is none.
    pub(super) fn turn(&mut self) -> bool {
        self.taken.truncate(self.next);
        self.next = 0;
        while let (Some(last), Some(width)) = (self.taken.pop(), self.widths.pop()) {
            if last + 1 < width {
                self.taken.push(last + 1);
                return true;
            }
        }
        false
    }
}

#[test]
fn every_way_is_taken_once() {
    let (mut chooser, mut ways) = (Chooser::default(), Vec::new());
    loop {
        let first = chooser.one_of(2);
        let second = if first == 1 { chooser.one_of(3) } else { 9 };
        ways.push((first, second));
        if !chooser.turn() {
            break;
        }
    }
    assert_eq!(ways, [(0, 9), (1, 0), (1, 1), (1, 2)]);
}
