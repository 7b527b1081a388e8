// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names with blanks in them: `round::{a,b}_stress`, `linux::…`, `cpus::{cpus}_run`.

/// Everything that a name with alternatives in braces stands for, with `*` where it leaves something open.
pub fn expand(name: &str) -> Vec<String> {
    let name = name.replace('…', "*");
    let braces = name.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (alternatives, after))) = braces else { return vec![name] };
    let of = |alternative: &str| expand(&format!("{before}{alternative}{after}"));
    alternatives.split(',').flat_map(of).collect()
}

/// A name as a program puts it together: `*` for each of its holes.
pub fn with_holes(format: &str) -> String {
    match format.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
        Some((before, after)) => format!("{before}*{}", with_holes(after)),
        None => format.to_owned(),
    }
}

/// Whether the segments of `name` follow each other somewhere in those of `path`.
pub fn is_part(name: &str, path: &str) -> bool {
    let (name, path): (Vec<&str>, Vec<&str>) = (name.split("::").collect(), path.split("::").collect());
    path.windows(name.len())
        .any(|part| part.iter().zip(&name).all(|(path, name)| meet(name.as_bytes(), path.as_bytes())))
}

/// Whether there is a text that both stand for, where `*` stands for any text.
fn meet(a: &[u8], b: &[u8]) -> bool {
    match (a, b) {
        ([], []) => true,
        // Nothing, or one more of the other.
        ([b'*', rest @ ..], _) => meet(rest, b) || b.split_first().is_some_and(|(_, b)| meet(a, b)),
        (_, [b'*', ..]) => meet(b, a),
        ([x, a @ ..], [y, b @ ..]) => x == y && meet(a, b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_all_of_their_alternatives() {
        assert_eq!(expand("on_{2,4}::{a,b}_c"), ["on_2::a_c", "on_2::b_c", "on_4::a_c", "on_4::b_c"]);
        assert_eq!(expand("linux::…"), ["linux::*"]);
        assert_eq!(with_holes("cpus::{cpus}_run{}"), "cpus::*_run*");
    }

    #[test]
    fn blanks_on_both_sides_may_meet() {
        assert!(is_part("cpus::8_run", "cpus::*_run"));
        assert!(is_part("footprint::satori_*", "footprint::satori_and_*_cpus"));
        assert!(is_part("*_is_found", "mmu::tests::rule_is_found"));
        assert!(!is_part("cpus::8_walk", "cpus::*_run"));
        assert!(!is_part("mmu::found", "mmu::tests::found"));
        assert!(!is_part("flush", "mmu::flushes::tests"));
    }
}
