// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way up, step by step: log, memory, this CPU, what we run on, VMX, and then the virtual machines.

// UNSAFETY: takes the machine over.
#![expect(unsafe_code)]

mod report;
mod when_done;

pub use when_done::WhenDone;

use crate::acpi::Platform;
use crate::acpi::RootTable;
use crate::boot_info::BootInfo;
use crate::boot_info::ImageLayout;
use crate::boot_info::PhysicalRange;
use crate::boot_info::StartError;
use crate::console;
use crate::console::serial::COM1_IRQ;
use crate::cpu::Cpu;
use crate::cpu::CpuNumber;
use crate::cpu::Cpus;
use crate::cpu::clock::Clock;
use crate::cpu::cpus;
use crate::cpu::descriptors;
use crate::cpu::descriptors::Descriptors;
use crate::cpu::hardware;
use crate::cpu::hardware::NativeMsrs;
use crate::cpu::hardware::NativePorts;
use crate::cpu::interrupts;
use crate::cpu::io_apic;
use crate::cpu::likeness::Likeness;
use crate::cpu::local_apic;
use crate::cpu::local_apic::LocalApic;
use crate::cpu::number::MAX_CPUS;
use crate::cpu::others::Others;
use crate::cpu::per_cpu;
use crate::cpu::pic;
use crate::cpu::stop;
use crate::cpu::trampoline::Trampoline;
use crate::cpu::vector;
use crate::cpu::wall_clock::WallClock;
use crate::hyperv;
use crate::hyperv::HyperV;
use crate::hyperv::Processors;
use crate::irqchip::local_apic::Part;
use crate::memory::FRAME;
use crate::memory::PhysicalRead;
use crate::memory::address_space;
use crate::memory::bring_up;
use crate::memory::frame_bitmap::FrameBitmap;
use crate::memory::frames;
use crate::memory::physical;
use crate::memory::physical::ALWAYS_MAPPED;
use crate::memory::physical::DirectMap;
use crate::mmu::Coherence;
use crate::schedule::board::Board;
use crate::schedule::processor;
use crate::vcpu;
use crate::vcpu::apic_virtualization;
use crate::vcpu::support::Support;
use crate::vm::Offer;
use crate::vm::life::Life;
use crate::vmx::capabilities::Capabilities;
use crate::vmx::processor::Processor;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::arch::x86_64::__cpuid_count;
use core::fmt::Display;
use core::panic::PanicInfo;
use enlightenments::consume::NativeCpuid;
use enlightenments::consume::Surroundings;
use enlightenments::consume::Switches;
use evmcs::NativeInstructions;
use evmcs::VmcsSlot;
use evmcs::controls::Controls;
use log::error;
use log::info;
use log::warn;

// SAFETY: here it is given to the UART's driver, the PIC's mask, the timers, the clock and the power-off, none of which writes memory.
// The ports of power-off and of the ACPI timer are those that firmware names, which is believed in that.
const PORTS: NativePorts = unsafe { NativePorts::new() };
/// The first parameter of a crash that is reported to L0: "SATORI", so that one finds it in its log.
const SATORI_PANIC: u64 = u64::from_be_bytes(*b"\0\0SATORI");
/// No machine of today has more physical memory.
const MEMORY_LIMIT: u64 = 1 << 46;
/// Bytes of the stack that everything runs on. The manifest's parser recurses as deep as it nests, 80 levels at most, which
/// takes up to 128 KiB.
const STACK: u64 = 192 << 10;

/// Starts the hypervisor.
///
/// # Safety
/// Called once, on the boot CPU, with interrupts off, on tables that map the first 4 GiB at their place and in the direct
/// map, and the image where it is linked.
pub unsafe fn start(boot: Result<BootInfo, StartError>, image: &ImageLayout) -> ! {
    per_cpu::enter(&per_cpu::BOOT);
    console::log::start(log::LevelFilter::Info);
    let serial = console::find(PORTS);
    info!("Satori {}: a hypervisor that knows that it is nested", env!("CARGO_PKG_VERSION"));
    if !serial {
        info!("no serial port: this log is in memory only");
    }
    let boot = or_stop(boot);
    interrupts::load_early();
    // SAFETY: this is the one call, on the boot tables.
    let memory_end = or_stop(unsafe { memory(&boot, image) });
    // The GDT of the entry code is not mapped any more: without another one every exception would be a reset.
    let descriptors = or_stop(descriptors::load());
    interrupts::load();
    let stack = or_stop(address_space::new_stack(STACK));
    let state = Box::new(Start { boot, image: image.clone(), memory_end, descriptors });
    // SAFETY: the stack is fresh; nothing of the old one is needed any more.
    unsafe { call_on(stack.top.as_u64(), Box::into_raw(state)) }
}

/// What is carried over to the second stack.
struct Start {
    boot: BootInfo,
    image: ImageLayout,
    memory_end: u64,
    descriptors: Descriptors,
}

/// Sets up the frame allocator and, with it, the heap; then our own page tables. Gives the end of RAM.
///
/// # Safety
/// As for [`start`].
unsafe fn memory(boot: &BootInfo, image: &ImageLayout) -> Result<u64, String> {
    let end = bring_up::memory_end(boot, MEMORY_LIMIT);
    let words = FrameBitmap::words_for((end / FRAME) as usize);
    let bytes = (words as u64 * 8).next_multiple_of(FRAME);
    let place = bring_up::place_for(boot, image.physical(), bytes, ALWAYS_MAPPED).ok_or(
        "the memory map has no room for the frame allocator below 4 GiB: give the machine more memory",
    )?;
    let own = PhysicalRange { start: place, end: place + bytes };
    // SAFETY: RAM that nobody uses, in the direct map, for ever ours.
    let words = unsafe { core::slice::from_raw_parts_mut(physical::pointer(place).cast::<u64>(), words) };
    let mut bitmap = FrameBitmap::new(words);
    bring_up::release_usable(&mut bitmap, boot, image.physical(), own, end);
    // Until our own tables are in use only the first 4 GiB are mapped; frames are handed out from the lowest on.
    frames::add_all(bitmap);
    // SAFETY: the one call, as the caller promised.
    unsafe { address_space::enter(image, end) }.map_err(|error| error.to_string())?;
    Ok(end)
}

/// Leaves the first stack for good.
///
/// # Safety
/// `stack_top` is the top of a stack that nobody uses; `state` came from a `Box`.
unsafe fn call_on(stack_top: u64, state: *mut Start) -> ! {
    extern "sysv64" fn enter(state: *mut Start) -> ! {
        // SAFETY: from the `Box` of `start`, handed over once.
        let state = unsafe { Box::from_raw(state) };
        on_own_stack(*state)
    }
    // SAFETY: as the caller promised; a call pushes a return address, which keeps the alignment that functions expect.
    unsafe {
        core::arch::asm!(
            "mov rsp, {stack}", "xor ebp, ebp", "call {enter}", "ud2",
            stack = in(reg) stack_top, enter = sym enter, in("rdi") state, options(noreturn)
        )
    }
}

/// Everything after the memory is ours.
fn on_own_stack(state: Start) -> ! {
    let Start { boot, image, memory_end, descriptors } = &state;
    let memory_end = *memory_end;
    // SAFETY: all RAM and the first 4 GiB are in the direct map; `bring_up` keeps modules from the allocator, and `bundle`
    // takes none that lies in the image.
    let direct_map = unsafe { DirectMap::new(memory_end.max(ALWAYS_MAPPED)) };
    let platform = platform(boot, direct_map);
    let surroundings = Surroundings::discover(&NativeCpuid);
    let mut hyperv = HyperV::join(&surroundings, switches(boot));
    let calibration = or_stop(Clock::calibrate(&PORTS, platform.pm_timer, hyperv.clock()));
    let clock = calibration.clock;
    console::log::set_clock(clock.tsc_hz());
    report::machine(boot, &platform, calibration, &surroundings);
    let processors = hyperv.processors();
    let mut cpu = or_stop(cpu(clock, &platform, *descriptors, processors));
    // Its tables are made once, here, so that no exit allocates.
    vcpu::emulate::prepare();
    let cpus: &'static Cpus = Box::leak(Box::new(Cpus::new(cpu.apic.id(), kick)));
    let vmx = cpu.processor.capabilities();
    let likeness = Likeness::of_this_cpu(clock, vmx, processors);
    let others = others(boot, image, direct_map, &platform, cpus, likeness);
    let Support { controls, shared_controls, nested, provider } =
        or_stop(Support::choose(&mut hyperv, cpus, vmx.ept, &surroundings, wanted(boot, &surroundings)));
    hyperv.report();
    report::footprint(image, memory_end, cpus.count());
    let coherence = Coherence::new(provider, Box::new(cpus));
    let board: &'static Board = Box::leak(Box::new(Board::new(cpus, coherence, clock.tsc_hz())));
    others.release(Box::leak(Box::new(move |mut cpu: Cpu| {
        cpu.use_vmcss(nested);
        processor::run(cpu, board)
    })));
    cpu.use_vmcss(nested);
    let tsc_hz = clock.tsc_hz();
    let wall_clock = WallClock::read(&PORTS, cpu.apic.timeline().now());
    let offer = Offer { cpuid: &__cpuid_count, tsc_hz, vmx, controls, shared_controls, wall_clock, nested };
    let when_done = WhenDone::new(boot, hyperv, platform.power_off);
    let life = Life::new(bundle(boot, image, direct_map), offer);
    processor::manage(cpu, board, life, when_done)
}

/// The enlightenments that the command line switches off.
fn switches(boot: &BootInfo) -> Switches {
    let unknown = |name: &str| warn!("command line: there is no enlightenment {name:?} to be switched off");
    // A second word adds to the first.
    let values: Vec<&str> = boot.options("enlightenments").collect();
    Switches::parse(&values.join(","), unknown)
}

/// The controls that guests run with where there are such. Of APIC virtualization as much as the command line says; else all, but
/// on a hypervisor CR8 alone, once a guest uses it: KVM maps its pages anew at each entry, which costs more than most guests save.
fn wanted(boot: &BootInfo, surroundings: &Surroundings) -> Controls {
    let is_bare = *surroundings == Surroundings::NoHypervisor;
    let usual = Some(if is_bare { Part::Whole } else { Part::Cr8 });
    let part = match boot.option("apic-virtualization") {
        None => usual,
        Some("off") => None,
        Some("accesses") => Some(Part::TaskPriority),
        Some("on") => Some(Part::Whole),
        Some(other) => {
            warn!("command line: apic-virtualization={other:?} is none of off, accesses, on");
            usual
        }
    };
    apic_virtualization::limited(vcpu::controls::wanted(), part)
}

/// This CPU, ready to run guests.
fn cpu(
    clock: Clock,
    platform: &Platform,
    descriptors: Descriptors,
    hyperv: Option<&Processors>,
) -> Result<Cpu, String> {
    let reason = |error: &dyn Display| error.to_string();
    let cpuid = |leaf| __cpuid_count(leaf, 0);
    let capabilities = Capabilities::read(cpuid, &NativeMsrs).map_err(|error| reason(&error))?;
    pic::silence(&PORTS);
    let apic = LocalApic::enable(clock).map_err(|error| reason(&error))?;
    let routed =
        io_apic::route(platform, COM1_IRQ, vector::SERIAL, apic.id()).map_err(|error| reason(&error))?;
    if routed {
        console::has_interrupts();
    } else {
        info!("no I/O APIC for the serial port: nothing can be typed");
    }
    let processor = Processor::vmxon(capabilities).map_err(|error| reason(&error))?;
    let joined =
        hyperv.map(|hyperv| hyperv.join(CpuNumber::BOOT)).transpose().map_err(|error| reason(&error))?;
    // SAFETY: VMX is on, on this CPU, and stays on.
    let instructions = unsafe { NativeInstructions::new() };
    let slot = VmcsSlot::native(0, instructions);
    Ok(Cpu { number: CpuNumber::BOOT, slot, processor, apic, descriptors, joined })
}

/// Starts the other CPUs that ACPI lists, and tells how many there are then.
fn others(
    boot: &BootInfo,
    image: &ImageLayout,
    direct_map: DirectMap,
    platform: &Platform,
    cpus: &'static Cpus,
    likeness: Likeness,
) -> Others {
    cpus::know(cpus);
    let boot_cpu = cpus.iter().map(|(_, apic_id)| apic_id).next();
    let apic_ids: Vec<u32> =
        boot_cpu.map(|apic_id| platform.other_cpus(apic_id).collect()).unwrap_or_default();
    let mut others = Others::default();
    if !apic_ids.is_empty() {
        match trampoline(boot, image, direct_map) {
            // SAFETY: firmware started none of them for us, and this CPU's id is not among them.
            Ok(trampoline) => others = unsafe { Others::start(cpus, &apic_ids, trampoline, likeness) },
            Err(reason) => warn!("{} CPUs are left out: {reason}", apic_ids.len()),
        }
    }
    if platform.cpus_beyond > 0 {
        warn!("{} CPUs are left out: Satori uses {MAX_CPUS} at most", platform.cpus_beyond);
    }
    match cpus.count() {
        1 => info!("1 CPU runs"),
        count => info!("{count} CPUs run"),
    }
    others
}

/// The page in which other CPUs start.
fn trampoline(boot: &BootInfo, image: &ImageLayout, direct_map: DirectMap) -> Result<Trampoline, String> {
    /// In the BIOS data area: the segment of the extended one.
    const EBDA_SEGMENT: u64 = 0x40e;
    let mut ebda = [0; 2];
    direct_map.read(EBDA_SEGMENT, &mut ebda);
    let page = bring_up::page_for_start_up(boot, image.physical(), u16::from_le_bytes(ebda))
        .ok_or("they start in a page of RAM below 640 KiB, and the memory map has none that is free")?;
    // SAFETY: RAM that nobody holds, and the allocator has none below 1 MiB.
    unsafe { Trampoline::place(page) }.map_err(|error| error.to_string())
}

/// How one CPU interrupts another.
fn kick(apic_id: u32) {
    local_apic::send_interrupt(apic_id, vector::KICK);
}

/// The module with the virtual machines.
fn bundle(boot: &BootInfo, image: &ImageLayout, direct_map: DirectMap) -> Option<&'static [u8]> {
    let (module, image) = (boot.modules.first()?, image.physical());
    let apart = module.start >= image.end || module.start.saturating_add(module.size) <= image.start;
    if apart { direct_map.module(module) } else { None }
}

fn platform(boot: &BootInfo, direct_map: DirectMap) -> Platform {
    let root = boot.acpi_root.or_else(|| RootTable::search(&direct_map));
    let mut platform = root.map(|root| Platform::read(&direct_map, root)).unwrap_or_default();
    // Registers are written there: not in RAM, whatever the tables say.
    platform.io_apic = platform.io_apic.filter(|&(at, _)| at.is_multiple_of(16) && !boot.is_ram(at));
    platform
}

/// The value, or the end with one line that says why.
fn or_stop<T>(result: Result<T, impl Display>) -> T {
    result.unwrap_or_else(|reason| {
        error!("{reason}");
        error!("halted");
        stop::all()
    })
}

/// Stops the whole machine and reports a panic, past all locks. If several CPUs panic, the first one reports.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    if stop::begin() {
        stop::others();
        let cpu = stop::this_cpu();
        let advice = "halted; please report this with the lines above";
        console::emergency(PORTS, format_args!("PANIC in Satori on {cpu}: {info}\n{advice}"));
        let parameters = [SATORI_PANIC, cpu.index() as u64, 0];
        hyperv::crash::report(parameters, format_args!("PANIC in Satori on {cpu}: {info}"));
    }
    hardware::stop()
}
