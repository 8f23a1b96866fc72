//! Patterns: `*` stands for any text, also none, and is the only special character; letter case does not count.

/// Whether `pattern` matches the whole of `text`.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_lowercase(), text.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether there is a hardware address that `pattern` matches: Ethernet's six bytes, or InfiniBand's twenty.
pub(crate) fn could_be_mac(pattern: &str) -> bool {
    [6, 20].into_iter().any(|bytes| could_be_hex(pattern, 3 * bytes - 1))
}

/// Whether there is a text of this length, pairs of digits with colons between them, that `pattern` matches.
fn could_be_hex(pattern: &str, length: usize) -> bool {
    // Up to which places of the text the pattern so far may have come.
    let mut reached = vec![false; length + 1];
    reached[0] = true;
    for c in pattern.chars() {
        let mut next = vec![false; length + 1];
        for at in (0..=length).filter(|at| reached[*at]) {
            if c == '*' {
                next[at..].fill(true);
            } else if at < length && if at % 3 == 2 { c == ':' } else { c.is_ascii_hexdigit() } {
                next[at + 1] = true;
            }
        }
        reached = next;
    }
    reached[length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text_and_nothing_else_is_special() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "x"),
            ("**", "x"),
            ("virtio_net", "virtio_net"),
            ("VIRTIO_net", "virtio_NET"),
            ("virtio*", "virtio_net"),
            ("*net", "virtio_net"),
            ("v*o*t", "virtio_net"),
            ("00:50:56:*", "00:50:56:8e:8f:e4"),
            ("*e4", "00:50:56:8e:8f:e4"),
            ("8086:*", "8086:10D3"),
            ("a*a", "aa"),
            ("*ab*ab", "abab"),
            ("a.c", "a.c"),
            ("802.1Q*", "802.1q vlan support"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "x"),
            ("x", ""),
            ("virtio", "virtio_net"),
            ("net*", "virtio_net"),
            ("*virtio", "virtio_net"),
            ("a*a", "a"),
            ("*ab*ab", "ab"),
            ("a.c", "abc"),
            ("a?c", "abc"),
            ("[ab]", "a"),
            ("00:50:56", "00:50:56:8e:8f:e4"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_no_hardware_address_matches_is_told() {
        for good in
            ["*", "00:50:56:*", "*:e4", "*e4", "00:11:22:33:44:aB", "*5*", "0*0", ":*".replace(':', "*").as_str()]
        {
            assert!(could_be_mac(good), "{good}");
        }
        assert!(could_be_mac(&["80"; 20].join(":")), "InfiniBand's");
        for bad in [
            "",
            "00-11-22-33-44-55",
            "0011.2233.4455",
            "001122334455",
            "00:11:22:33:44",
            "00:11:22:33:44:55:66",
            "00:11:22:33:44:5g",
            "eth0",
            ":*",
            "*:",
            "000*",
            "00:1:*",
            "*x*",
            "00:11:22:33:44:55 ",
        ] {
            assert!(!could_be_mac(bad), "{bad}");
        }
    }
}
