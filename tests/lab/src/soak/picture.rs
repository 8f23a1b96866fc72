//! The picture of a soak: an SVG with a lane for each node. Pure.
//!
//! Time runs in rows. A lane shows in green when its node held, below it in four thin lines what was broken there
//! (daemon, etcd member, cable, what the daemon hears of etcd), and as a triangle above what was done by hand.

use std::fmt::Write as _;
use std::time::Duration;

use super::history::History;
use super::notes::{Heal, Mark};
use super::tally;
use super::trouble::{NODES, Part, Trouble};
use crate::clock::At;

/// What is drawn.
pub(super) struct Scene<'a> {
    /// Who held when, from beginning to end.
    pub(super) history: &'a History,
    /// What was broken when.
    pub(super) marks: &'a [Mark],
    /// When all was healed and looked at.
    pub(super) heals: &'a [Heal],
    /// Written above.
    pub(super) title: &'a str,
}

const LEFT: f64 = 64.0;
const PLOT: f64 = 1500.0;
const TOP: f64 = 96.0;
const LANE: f64 = 52.0;
const NOBODY: f64 = 10.0;
const AXIS: f64 = 38.0;
const ROW: f64 = LANE * NODES as f64 + NOBODY + AXIS;

const HELD: &str = "#2e9e5b";
const NONE: &str = "#f0a030";
const BAD: &str = "#d0021b";

/// The parts of a lane: place below its top, colour, name.
const PARTS: [(Part, f64, &str, &str); 4] = [
    (Part::Daemon, 27.0, "#7b4fc9", "vipd"),
    (Part::Member, 32.5, "#2f6fb5", "etcd member"),
    (Part::Cable, 38.0, "#3a3a3a", "cable"),
    (Part::Answers, 43.5, "#c2631d", "etcd's answers"),
];
const THIN: f64 = 4.5;

/// The whole file.
pub(super) fn draw(scene: &Scene) -> String {
    let rows = scene.rows();
    let (width, height) = (LEFT + PLOT + 24.0, TOP + ROW * rows.len() as f64 + 8.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"12\">\n{HATCH}\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"30\" font-size=\"17\">{}</text>\n",
        escaped(scene.title)
    );
    legend(&mut svg);
    for (number, row) in rows.iter().enumerate() {
        row.draw(&mut svg, scene, TOP + ROW * number as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

/// For what is stopped, late or flapping and not gone.
const HATCH: &str = "<defs><pattern id=\"h\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" \
    patternTransform=\"rotate(45)\"><rect width=\"2.2\" height=\"5\" fill=\"#fff\"/></pattern></defs>\n";

fn legend(svg: &mut String) {
    let mut x = LEFT;
    let mut entry = |name: &str, fill: &str, hatched: bool, high: f64| {
        rect(svg, x, 58.0 - high / 2.0, 22.0, high, fill, "");
        if hatched {
            rect(svg, x, 58.0 - high / 2.0, 22.0, high, "url(#h)", "");
        }
        text(svg, x + 28.0, 62.0, "start", "#333", name);
        x += 44.0 + 7.0 * name.chars().count() as f64;
    };
    entry("has the address", HELD, false, 16.0);
    entry("nobody has it", NONE, false, 8.0);
    PARTS.iter().for_each(|(_, _, colour, name)| entry(&format!("{name} gone"), colour, false, 7.0));
    entry("hatched: frozen, unplugged, late", PARTS[0].2, true, 7.0);
    entry("healed and judged", "#dff0e4", false, 22.0);
    entry("overlap", BAD, false, 22.0);
    let y = 82.0;
    triangle(svg, LEFT + 11.0, y, "#d0021b");
    text(svg, LEFT + 28.0, y + 4.0, "start", "#333", "by hand: A address deleted, K key deleted, L lease revoked");
}

/// A stretch of time, and where it is drawn.
struct Row {
    from: At,
    span: Duration,
    tick: Duration,
    zero: Duration,
}

impl Scene<'_> {
    /// As few seconds a row as give no more than a page's worth of rows.
    fn rows(&self) -> Vec<Row> {
        const CHOICES: [(u64, u64); 6] = [(60, 5), (120, 10), (180, 15), (300, 30), (600, 60), (1200, 120)];
        let total = self.history.to.since(self.history.from).as_secs().max(1);
        let fits = CHOICES.iter().find(|(seconds, _)| total.div_ceil(*seconds) <= 16);
        let (seconds, tick) = *fits.unwrap_or(&(3600, 300));
        let row = |number: u64| {
            let zero = Duration::from_secs(number * seconds);
            Row {
                from: self.history.from + zero,
                span: Duration::from_secs(seconds),
                tick: Duration::from_secs(tick),
                zero,
            }
        };
        (0..total.div_ceil(seconds)).map(row).collect()
    }
}

impl Row {
    /// The part of a span that is in this row, as place and width.
    fn part(&self, from: At, to: At) -> Option<(f64, f64)> {
        if to < self.from || from > self.from + self.span {
            return None;
        }
        let x = |at: At| LEFT + PLOT * (at.since(self.from).as_secs_f64() / self.span.as_secs_f64()).clamp(0.0, 1.0);
        Some((x(from), x(to) - x(from)))
    }

    fn draw(&self, svg: &mut String, scene: &Scene, top: f64) {
        let bottom = top + LANE * NODES as f64 + NOBODY;
        for heal in scene.heals {
            let colour = if heal.good { "#dff0e4" } else { "#f9d5d8" };
            self.band(svg, (heal.at, heal.to), (top, bottom), colour, "healed");
        }
        self.axis(svg, scene, top, bottom);
        for node in 0..NODES {
            self.lane(svg, scene, node, top + LANE * node as f64);
        }
        let nobody = complement(scene);
        text(svg, LEFT - 8.0, bottom - 1.0, "end", "#a86a10", "nobody");
        for (from, to) in nobody {
            let told = format!("nobody for {:.3} s", to.since(from).as_secs_f64());
            self.band(svg, (from, to), (bottom - NOBODY + 1.0, bottom - 1.0), NONE, &told);
        }
        for overlap in &scene.history.overlaps {
            let told = format!("overlap {:.6} s", overlap.to.since(overlap.from).as_secs_f64());
            self.band(svg, (overlap.from, overlap.to), (top, bottom), BAD, &told);
        }
    }

    fn axis(&self, svg: &mut String, scene: &Scene, top: f64, bottom: f64) {
        let mut at = Duration::ZERO;
        while at <= self.span {
            let x = LEFT + PLOT * at.as_secs_f64() / self.span.as_secs_f64();
            let past = self.from + at > scene.history.to;
            let colour = if past { "#f2f2f2" } else { "#dcdcdc" };
            let _ = writeln!(svg, "<path d=\"M{x:.1} {top:.1}V{:.1}\" stroke=\"{colour}\"/>", bottom + 4.0);
            text(svg, x, bottom + 17.0, "middle", "#666", &tally::minutes(self.zero + at));
            at += self.tick;
        }
    }

    fn lane(&self, svg: &mut String, scene: &Scene, node: usize, top: f64) {
        text(svg, LEFT - 8.0, top + 23.0, "end", "#111", &format!("n{}", node + 1));
        let _ = writeln!(svg, "<path d=\"M{LEFT} {:.1}h{PLOT}\" stroke=\"#bbb\"/>", top + LANE - 1.0);
        for hold in scene.history.holds.iter().filter(|hold| hold.node == node) {
            let told = format!("n{} for {:.3} s", node + 1, hold.to.since(hold.from).as_secs_f64());
            self.band(svg, (hold.from, hold.to), (top + 11.0, top + 25.0), HELD, &told);
        }
        for mark in scene.marks {
            for (_, part) in mark.parts().into_iter().filter(|(of, _)| *of == node) {
                self.mark(svg, scene, mark, part, top);
            }
        }
    }

    fn mark(&self, svg: &mut String, scene: &Scene, mark: &Mark, part: Part, top: f64) {
        let to = mark.to.unwrap_or(scene.history.to);
        let Some((_, y, colour, _)) = PARTS.iter().find(|(known, ..)| *known == part) else {
            if let Some((x, _)) = self.part(mark.from, mark.from) {
                triangle(svg, x, top + 6.0, BAD);
                text(svg, x + 6.0, top + 10.0, "start", BAD, letter(mark.trouble));
            }
            return;
        };
        let where_ = (top + y, top + y + THIN);
        self.band(svg, (mark.from, to), where_, colour, &mark.to_string());
        if hatched(mark.trouble) {
            self.band(svg, (mark.from, to), where_, "url(#h)", &mark.to_string());
        }
    }

    /// A rectangle over a span of time, never too thin to be seen.
    fn band(&self, svg: &mut String, (from, to): (At, At), (top, bottom): (f64, f64), fill: &str, told: &str) {
        if let Some((x, width)) = self.part(from, to) {
            rect(svg, x, top, width.max(1.2), bottom - top, fill, told);
        }
    }
}

/// The times with nobody.
fn complement(scene: &Scene) -> Vec<(At, At)> {
    let mut holds = scene.history.holds.clone();
    holds.sort_by_key(|hold| hold.from);
    let (mut gaps, mut covered) = (Vec::new(), scene.history.from);
    for hold in holds {
        if hold.from > covered {
            gaps.push((covered, hold.from));
        }
        covered = covered.max(hold.to);
    }
    if scene.history.to > covered {
        gaps.push((covered, scene.history.to));
    }
    gaps
}

fn hatched(trouble: Trouble) -> bool {
    use Trouble as T;
    matches!(
        trouble,
        T::Freeze(_)
            | T::Unplug(_)
            | T::Flap(..)
            | T::EtcdLate(..)
            | T::EtcdLateForAll(..)
            | T::MemberFrozen(_)
            | T::DiskStalled(_)
            | T::QuorumFrozen(_)
    )
}

fn letter(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::AddressDeleted => "A",
        Trouble::KeyDeleted => "K",
        _ => "L",
    }
}

fn rect(svg: &mut String, x: f64, y: f64, width: f64, height: f64, fill: &str, told: &str) {
    let frame = format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"");
    let _ = if told.is_empty() {
        writeln!(svg, "{frame}/>")
    } else {
        writeln!(svg, "{frame}><title>{}</title></rect>", escaped(told))
    };
}

fn triangle(svg: &mut String, x: f64, y: f64, fill: &str) {
    let (left, right, above, below) = (x - 4.5, x + 4.5, y - 4.0, y + 4.5);
    let _ = writeln!(svg, "<path d=\"M{left:.1} {above:.1}H{right:.1}L{x:.1} {below:.1}Z\" fill=\"{fill}\"/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, fill: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{fill}\">{words}</text>");
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::history::{Hold, Overlap};
    use super::*;

    fn at(seconds: u64) -> At {
        At::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn rows_marks_and_overlaps_are_drawn() {
        let hold = |node, from, to| Hold { node, from: at(from), to: at(to) };
        let overlap = Overlap { from: at(150), to: at(151), nodes: vec![0, 1] };
        let holds = vec![hold(0, 100, 151), hold(1, 150, 180)];
        let history = History { from: at(100), to: at(200), holds, overlaps: vec![overlap], ..History::default() };
        let mark = Mark { trouble: Trouble::Freeze(Duration::from_secs(3)), node: 2, from: at(130), to: Some(at(133)) };
        let heals = [Heal { at: at(170), to: at(180), good: true }];
        let scene = Scene { history: &history, marks: &[mark], heals: &heals, title: "a < b" };
        let svg = draw(&scene);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b"));
        assert!(svg.contains("n3: vipd frozen for 3s") && svg.contains("overlap 1.000000 s"));
        assert!(svg.contains("nobody for 20.000 s") && svg.contains(">1:40<"), "{svg}");
        assert_eq!(scene.rows().len(), 2);
    }
}
