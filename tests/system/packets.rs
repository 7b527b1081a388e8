// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a packet between two machines costs.

use std::time::Duration;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;
use ci::bundle::Manifest;
use ci::bundle::Net;
use ci::bundle::VirtualMachine;
use ci::image::Bundle;
use ci::lab::Console;
use tests::catalogue::PACKET_LIMITS;

use crate::Hardware;
use crate::Lab;
use crate::guests;
use crate::guests::costs_at_most;
use crate::lines::lines_to_the_end;
use crate::report::Report;
use crate::test;

/// No line takes longer, on this machine's clock.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// After the last line.
const TIME_TO_END: Duration = Duration::from_secs(30);

/// Runs the test.
///
/// # Errors
/// On an interrupt.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    test(report, "packets::go_from_machine_to_machine_at_what_is_promised", || {
        let two = [("follower", None), ("leader", Some("leads=1"))];
        let machines =
            two.map(|(name, words)| machine(lab, name, words)).into_iter().collect::<Result<_>>()?;
        let bundle = Bundle::Of(Manifest::together(machines));
        // With one CPU what is counted is what is done.
        let mut session = lab.boot(bundle, Hardware::default())?;
        let lines = lines_to_the_end(&mut session, LONGEST_SILENCE)?;
        session.wait_for_power_off(TIME_TO_END)?;
        judge(&lines)
    })
}

fn machine(lab: &Lab, name: &str, words: Option<&str>) -> Result<VirtualMachine> {
    let program = guests::named(lab, &["packets"])?.remove(0);
    Ok(VirtualMachine {
        name: name.into(),
        command_line: words.map(str::to_owned),
        nets: vec![Net { switch: "lan".into(), mac: None }],
        ..program
    })
}

fn judge(lines: &[String]) -> Result<()> {
    let said = |name: &str| {
        lines
            .iter()
            .filter_map(|line| line.strip_prefix(&format!("{name}| ")))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for name in ["follower", "leader"] {
        if !said(name).iter().any(|line| line == "verdict: pass") {
            bail!("{name} did not pass:\n{}", lines.join("\n"));
        }
    }
    let figures: Vec<String> =
        said("leader").into_iter().filter(|line| line.starts_with("bench: ")).collect();
    figures.iter().for_each(|figure| println!("{figure}"));
    ensure!(figures.len() == PACKET_LIMITS.len(), "{} figures", figures.len());
    PACKET_LIMITS.iter().try_for_each(|(name, most)| costs_at_most(&figures, name, *most))
}
