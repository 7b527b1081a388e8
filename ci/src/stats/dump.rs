// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dumps in a captured console: each from the line `stats SECONDS` to `ok`, with whatever else is printed in between.

use anyhow::Context;
use anyhow::Result;

/// Where Satori clears the row before it prints a line.
const CLEAR: &str = "\x1b[K";

/// What was counted up to one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dump {
    /// Seconds since Satori's start.
    pub seconds: f64,
    /// In the order of the dump.
    pub exits: Vec<Exits>,
    /// Of the machine as a whole: name and value.
    pub counters: Vec<(String, u64)>,
}

/// Exits of one vCPU for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Exits {
    /// The VM's name.
    pub vm: String,
    /// The vCPU's index.
    pub vcpu: u32,
    /// Why it left its guest.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// Ticks of the TSC that one took, on average.
    pub ticks: u64,
    /// Of the time that all exits of this vCPU took, in percent.
    pub share: f64,
}

impl Dump {
    /// How often a second it left its guest for that since the dump `before`, or since Satori's start. `None` if no time has passed.
    pub fn rate(&self, vm: &str, vcpu: u32, reason: &str, before: Option<&Self>) -> Option<f64> {
        let (count, seconds) = (self.count(vm, vcpu, reason), before.map_or(0.0, |before| before.seconds));
        let counted = before.map_or(0, |before| before.count(vm, vcpu, reason));
        // A VM that was started again begins anew.
        let more = count.checked_sub(counted).unwrap_or(count);
        let passed = self.seconds - seconds;
        (passed > 0.0).then(|| more as f64 / passed)
    }

    fn count(&self, vm: &str, vcpu: u32, reason: &str) -> u64 {
        let same =
            |exits: &&Exits| (exits.vm.as_str(), exits.vcpu, exits.reason.as_str()) == (vm, vcpu, reason);
        self.exits.iter().find(same).map_or(0, |exits| exits.count)
    }
}

/// All that there are, in order.
///
/// # Errors
/// When a line of one cannot be read.
pub fn parse(console: &str) -> Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    let mut open: Option<Dump> = None;
    for (number, line) in (1..).zip(console.lines()) {
        let line = line.rsplit_once(CLEAR).map_or(line, |(_, after)| after).trim_end();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match (words.as_slice(), &mut open) {
            (["stats", seconds], _) if seconds.parse::<f64>().is_ok_and(f64::is_finite) => {
                open = Some(Dump { seconds: seconds.parse()?, ..Dump::default() });
            }
            (["ok"], _) => dumps.extend(open.take()),
            (["exit", rest @ ..], Some(dump)) => {
                dump.exits.push(exits(rest).with_context(|| format!("line {number}: {line:?}"))?);
            }
            (["memory" | "flushes", rest @ ..], Some(dump)) => {
                dump.counters.extend(pairs(rest).with_context(|| format!("line {number}: {line:?}"))?);
            }
            _ => {}
        }
    }
    Ok(dumps)
}

fn exits(words: &[&str]) -> Result<Exits> {
    let [vm, vcpu, reason, "count", count, "ticks", ticks, "share", share] = words else {
        anyhow::bail!("it is not \"exit VM VCPU REASON count N ticks N share N\"");
    };
    Ok(Exits {
        vm: (*vm).into(),
        vcpu: vcpu.parse()?,
        reason: (*reason).into(),
        count: count.parse()?,
        ticks: ticks.parse()?,
        share: share.parse()?,
    })
}

fn pairs(words: &[&str]) -> Result<Vec<(String, u64)>> {
    let pairs = words.chunks_exact(2).map(|pair| Ok((pair[0].into(), pair[1].parse()?)));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "stats 2.500000\r\nmemory free_kib 10 heap_bytes 5\r\nflushes invept_single 3 invept_global 0\r\n\
        b| what a guest prints\r\nvm a running vcpus 1\r\nvcpu a 0 exits 20\r\n\
        exit a 0 CPUID                    count 20         ticks 100      share 100.0\r\nok\r\n";

    #[test]
    fn a_dump_is_found_among_other_lines() {
        let console = format!("[0.1] INFO  ok\r\nsatori> stats\r\n\r\x1b[K{ONE}satori> ");
        let dump = &parse(&console).unwrap()[..];
        let exits =
            Exits { vm: "a".into(), vcpu: 0, reason: "CPUID".into(), count: 20, ticks: 100, share: 100.0 };
        let counters = [("free_kib", 10), ("heap_bytes", 5), ("invept_single", 3), ("invept_global", 0)];
        let counters = counters.map(|(name, value)| (String::from(name), value)).to_vec();
        assert_eq!(dump, [Dump { seconds: 2.5, exits: vec![exits], counters }]);
    }

    #[test]
    fn a_rate_is_what_came_since_the_dump_before() {
        let later = ONE.replace("stats 2.5", "stats 4.5").replace("count 20 ", "count 50 ");
        let dumps = parse(&(ONE.to_owned() + &later)).unwrap();
        let rate = |dump: &Dump, before| dump.rate("a", 0, "CPUID", before);
        assert_eq!(rate(&dumps[0], None), Some(8.0));
        assert_eq!(rate(&dumps[1], Some(&dumps[0])), Some(15.0));
        assert_eq!(rate(&dumps[0], Some(&dumps[0])), None);
        let anew = Dump { seconds: 8.5, ..dumps[0].clone() };
        assert_eq!(rate(&anew, Some(&dumps[1])), Some(5.0), "it was started again");
    }

    #[test]
    fn a_broken_line_is_named_and_a_dump_that_is_cut_is_none() {
        let error = parse(&ONE.replace("count 20 ", "count many ")).unwrap_err();
        assert!(error.to_string().starts_with("line 7: \"exit a 0 CPUID"), "{error}");
        assert!(parse(&ONE.replace("ok\r\n", "")).unwrap().is_empty());
    }
}
