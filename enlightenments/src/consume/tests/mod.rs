// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine's whole life with L0, in the order in which the hypervisor lives it.

mod any_l0;
mod odd_l0s;
mod switches;

use super::Capabilities;
use super::Feature;
use super::Hypercalls;
use super::Obstacle;
use super::Partition;
use super::SharedPage;
use super::Surroundings;
use super::Switches;
use super::SyntheticMsrs;
use super::VirtualProcessor;
use super::guest_mapping;
use super::model::Memory;
use super::model::ModelL0;

const HYPERCALL_PAGE: u64 = 0x1000;
const INPUT_PAGE: u64 = 0x2000;
const ASSIST_PAGES: u64 = 0x10_0000;
const ROOT: u64 = 0x7000;
const CPUS: u32 = 4;

/// A machine that is up, and what it uses.
struct Machine {
    capabilities: Capabilities,
    partition: Result<Partition, Obstacle>,
    processors: Vec<VirtualProcessor>,
    input: SharedPage,
}

impl Machine {
    fn bring_up<M: SyntheticMsrs>(
        surroundings: &Surroundings,
        switches: Switches,
        msrs: &[M],
        calls: &impl Hypercalls,
        page: impl Fn(u64) -> SharedPage,
    ) -> Self {
        let mut capabilities = Capabilities::of(surroundings, switches);
        let _ = page(HYPERCALL_PAGE);
        let partition = Partition::join(&msrs[0], &capabilities, HYPERCALL_PAGE);
        capabilities.settle(Feature::HypercallPage, partition.as_ref().map(drop).map_err(|why| *why));
        let join = |(cpu, msrs)| {
            VirtualProcessor::join(msrs, &capabilities, page(ASSIST_PAGES + cpu as u64 * 0x1000))
        };
        let processors: Vec<VirtualProcessor> = msrs.iter().enumerate().map(join).collect();
        let mut machine = Self { capabilities, partition, processors, input: page(INPUT_PAGE) };
        machine.settle_processors();
        machine.settle_enlightened_vmcs();
        machine.probe_flush(calls);
        machine
    }

    /// On the model L0, with all its CPUs.
    fn on(l0: &ModelL0, switches: Switches) -> Self {
        let msrs: Vec<_> = (0..CPUS).map(|cpu| l0.cpu(cpu)).collect();
        Self::bring_up(&l0.surroundings(), switches, &msrs, l0, |address| l0.page(address))
    }

    fn settle_processors(&mut self) {
        let numbered = || (0..).zip(&self.processors);
        let indices = numbered().map(|(cpu, processor)| (cpu, processor.vp_index().map(drop)));
        self.capabilities.settle_on_every_cpu(Feature::VpIndex, indices);
        let pages = numbered().map(|(cpu, processor)| (cpu, processor.assist_page_outcome()));
        self.capabilities.settle_on_every_cpu(Feature::VpAssistPage, pages);
    }

    fn settle_enlightened_vmcs(&mut self) {
        if self.capabilities.calls_for_enlightened_vmcs() {
            for feature in
                [Feature::EnlightenedVmcs, Feature::EnlightenedMsrBitmap, Feature::DirectVirtualFlush]
            {
                self.capabilities.settle(feature, Ok(()));
            }
        }
    }

    fn probe_flush(&mut self, calls: &impl Hypercalls) {
        if self.capabilities.is_in_use(Feature::HypercallPage)
            && self.capabilities.may_use(Feature::GuestMappingFlush)
        {
            let probed = guest_mapping::flush_space(calls, &mut self.input, ROOT);
            self.capabilities.settle(Feature::GuestMappingFlush, probed.map_err(Obstacle::Call));
        }
    }

    /// The end: how each CPU and the partition parted from L0.
    fn take_down<M: SyntheticMsrs>(self, msrs: &[M]) -> (Vec<Option<SharedPage>>, Result<(), Obstacle>) {
        let leave = |(processor, msrs): (VirtualProcessor, &M)| processor.leave(msrs);
        let pages = self.processors.into_iter().zip(msrs).map(leave).collect();
        (pages, self.partition.map_or(Ok(()), |partition| partition.leave(&msrs[0])))
    }

    /// The end on the model L0: all goes well, and another kernel finds nothing of us.
    fn vanishes_from(self, l0: &ModelL0) {
        let msrs: Vec<_> = (0..CPUS).map(|cpu| l0.cpu(cpu)).collect();
        let (pages, partition) = self.take_down(&msrs);
        assert_eq!(partition, Ok(()));
        assert!(pages.iter().all(Option::is_some));
        assert_eq!(l0.msrs.enabled(), []);
        assert!((0..CPUS).all(|cpu| l0.enlightened_vmcs(cpu).is_none()));
    }

    /// What the report says of a feature, behind its name.
    fn row(&self, feature: Feature) -> String {
        let table = self.capabilities.to_string();
        let row = table.lines().find(|row| row.starts_with(&format!("{:<36} ", feature.name())));
        row.unwrap()[37..].split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn in_use(&self) -> Vec<Feature> {
        Feature::all().filter(|feature| self.capabilities.is_in_use(*feature)).collect()
    }
}

/// What a machine in this life uses at most: the clocks and crash reports are not ours to try here.
const ALL: [Feature; 7] = [
    Feature::EnlightenedVmcs,
    Feature::EnlightenedMsrBitmap,
    Feature::DirectVirtualFlush,
    Feature::GuestMappingFlush,
    Feature::HypercallPage,
    Feature::VpIndex,
    Feature::VpAssistPage,
];

/// All that can be used where `lost` cannot.
fn all_but(lost: &[Feature]) -> Vec<Feature> {
    fn hangs_on(feature: Feature, lost: &[Feature]) -> bool {
        lost.contains(&feature) || feature.needs().iter().any(|needed| hangs_on(*needed, lost))
    }
    ALL.into_iter().filter(|feature| !hangs_on(*feature, lost)).collect()
}

#[test]
fn everything_is_used_where_everything_is_offered_and_nothing_of_it_is_left() {
    let l0 = ModelL0::everything();
    let machine = Machine::on(&l0, Switches::NONE_OFF);
    assert_eq!(machine.in_use(), ALL);
    assert_eq!(machine.row(Feature::EnlightenedVmcs), "yes yes");
    machine.vanishes_from(&l0);
}
