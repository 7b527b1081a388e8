// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one operation costs, in ticks of the TSC: where one tick is one instruction, in instructions.
//!
//! Each line `bench: NAME N` is the TSC difference over a loop, divided by its rounds, rounded down. A round is the
//! assembly that stands beside the name, then DEC and JNZ, which `empty` has alone; nothing is subtracted.
//!
//! What concerns memory is done once for each of several pages, and timed one by one: `fault_4k` and `fault_2m` are the
//! first touch of fresh memory, and `zap_page` is the exerciser's command less a plain read of one of its ports.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the loops are assembly, so that it is known what they consist of.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::effort;
use tests::exerciser;
use tests::exerciser::Counter;
use tests::exerciser::Counters;
use tests::interrupts;
use tests::lane::PAGE;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::physical;
use tests::pit;
use tests::ports;
use tests::say;
use tests::serial;
use tests::start_info;
use tests::time;
use tests::verdict::expect;
use tests::verdict::expect_eq;
use tests::virtio;
use tests::virtio::Buffer;
use tests::virtio::Device;
use tests::virtio::Notification;
use tests::virtio::Queue;

tests::program!(run);

/// ACPI's timer.
const PM_TIMER: u16 = 0x608;
/// Bytes of a large page.
const LARGE_PAGE: u64 = 2 << 20;
/// Where a virtqueue and what its device reads and writes are. Used last.
const QUEUE: u64 = 8 << 20;
const BUFFER: u64 = 9 << 20;
/// Requests to a disk that are made at once.
const BATCH: u64 = 32;
const READ: u64 = 0;
const SECTOR: u64 = 512;
const DISK_VECTOR: u8 = 0x51;
/// Rounds that are counted.
const ROUNDS: u64 = 10_000;
/// Rounds before them that are not.
const WARM_UP: u64 = 100;

/// Times `$body` and prints the result. R8 counts the rounds; R9 keeps RBX, which CPUID changes.
macro_rules! bench {
    ($name:literal, $body:literal $(, in($register:tt) $value:expr)*) => {{
        let ticks = |rounds: u64| {
            let start = time::tsc();
            // SAFETY: the body reads or writes a register of the machine that nothing else here uses.
            unsafe {
                asm!(
                    "mov r9, rbx",
                    "2:",
                    $body,
                    "dec r8",
                    "jnz 2b",
                    "mov rbx, r9",
                    in("r8") rounds,
                    $(in($register) $value,)*
                    clobber_abi("sysv64"),
                );
            }
            time::tsc() - start
        };
        let rounds = effort::of(ROUNDS);
        ticks(WARM_UP);
        say!("bench: {} {}", $name, ticks(rounds) / rounds);
    }};
}

fn run() {
    let apic = LocalApic::enabled();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | local_apic::MASKED);
    let eoi = local_apic::BASE + u64::from(Register::END_OF_INTERRUPT.0);

    bench!("empty", "");
    bench!("cpuid", "xor eax, eax\n cpuid");
    bench!("uart_status", "in al, dx", in("dx") serial::LINE_STATUS);
    ports::out_u8(pit::CONTROL, 0b0001_0100);
    ports::out_u8(pit::CHANNEL_0, 0);
    bench!("pit_count", "in al, dx", in("dx") pit::CHANNEL_0);
    bench!("pm_timer", "in eax, dx", in("dx") PM_TIMER);
    pit::stop();
    bench!("rdmsr_apic_base", "rdmsr", in("ecx") msr::APIC_BASE);
    bench!("wrmsr_tsc_deadline", "wrmsr", in("ecx") msr::TSC_DEADLINE, in("eax") 0, in("edx") 0);
    bench!("xapic_eoi", "mov [rdi], esi", in("rdi") eoi, in("esi") 0);

    faults("fault_4k", small_pages());
    faults("fault_2m", large_pages());
    zap();
    virtio_devices();
}

/// Pages behind the last place where a large page fits. The first of them costs the tables, too, and is not among them.
fn small_pages() -> impl Iterator<Item = u64> {
    let taken = start_info::occupied();
    let is_free = move |page: &u64| !taken.iter().any(|taken| taken.start < page + PAGE && *page < taken.end);
    let first = end_of_large_pages();
    physical::write(first, 1_u8);
    (first + PAGE..end_of_ram()).step_by(PAGE as usize).filter(is_free)
}

/// Large pages that nobody has touched.
fn large_pages() -> impl Iterator<Item = u64> {
    (2 * LARGE_PAGE..end_of_large_pages()).step_by(LARGE_PAGE as usize)
}

/// What it costs to touch each of these pages for the first time.
fn faults(name: &str, pages: impl Iterator<Item = u64>) {
    let before = Counters::now();
    let (mut ticks, mut count) = (0, 0);
    for page in pages {
        ticks += timed(|| physical::write(page, 1_u8));
        count += 1;
    }
    let faults = before.growth(Counter::Faults);
    say!("bench: {name} {}", ticks / u64::from(count));
    expect_eq(format_args!("faults of {name}"), faults, count);
}

fn zap() {
    const ROUNDS: u64 = 1_000;
    let rounds = effort::of(ROUNDS);
    let page = end_of_large_pages() - LARGE_PAGE + 5 * PAGE;
    // Splits the large page that it is in.
    exerciser::zap(page, 1);
    let (mut zaps, mut reads) = (0, 0);
    for _ in 0..rounds {
        physical::write(page, 1_u8);
        zaps += timed(|| ports::out_u32(exerciser::COMMAND, exerciser::ZAP));
        reads += timed(|| _ = ports::in_u32(exerciser::COMMAND));
    }
    say!("bench: zap_page {}", (zaps - reads) / rounds);
}

/// What it costs to notify a virtio device that has nothing to do, and to read 4 KiB from a disk: alone, and as one of many.
fn virtio_devices() {
    if let Some(device) = Device::find(virtio::ENTROPY)
        && let Notification::Port(port) = device.notification
    {
        expect("features are agreed on", device.agree(virtio::VERSION_1));
        let _queue = device.queue(0, 16, QUEUE, virtio::NO_VECTOR);
        device.start();
        bench!("virtio_notify", "out dx, ax", in("dx") port, in("ax") 0_u16);
    }
    if let Some(device) = Device::find(virtio::BLOCK) {
        let mut disk = Disk::of(device);
        let alone = effort::of(1_000);
        say!("bench: block_read_4k {}", disk.ticks(alone, 1) / alone);
        let batches = effort::of(50);
        say!("bench: block_read_4k_of_{BATCH} {}", disk.ticks(batches, BATCH) / (batches * BATCH));
    }
}

/// A disk as a driver has it that gets interrupts, and waits for them.
struct Disk(Queue);

impl Disk {
    fn of(device: Device) -> Self {
        device.set_message(0, 0, DISK_VECTOR);
        device.set_messages(true, false);
        expect("features are agreed on", device.agree(virtio::VERSION_1 | virtio::EVENT_INDEX));
        let queue = device.queue(0, 128, QUEUE, 0);
        device.start();
        for request in 0..BATCH {
            let [header, _, _] = places(request);
            physical::write(header, READ);
            physical::write(header + 8, request * PAGE / SECTOR);
        }
        Self(queue)
    }

    /// What it costs to read so often so many blocks at a time, from the first request to the last interrupt.
    fn ticks(&mut self, rounds: u64, blocks: u64) -> u64 {
        self.read(blocks);
        interrupts::forget();
        let ticks = (0..rounds).map(|_| timed(|| self.read(blocks))).sum();
        expect_eq("interrupts", interrupts::count() as u64, rounds);
        ticks
    }

    fn read(&mut self, blocks: u64) {
        let Self(queue) = self;
        let mut left = blocks;
        expect("nothing is used before it is offered", !queue.await_use());
        for request in 0..blocks {
            let [header, data, status] = places(request);
            physical::write(status, u8::MAX);
            let buffers = [Buffer::Read(header, 16), Buffer::Write(data, 4096), Buffer::Write(status, 1)];
            queue.offer(3 * request as u16, &buffers);
        }
        queue.notify_if_awaited();
        while left > 0 {
            interrupts::take_pending();
            while let Some((first, written)) = queue.used() {
                let [_, _, status] = places(u64::from(first) / 3);
                expect_eq("bytes written", written, 4097);
                expect_eq("status of the request", physical::read::<u8>(status), 0);
                left -= 1;
            }
        }
    }
}

/// Header, data and status of a request.
fn places(request: u64) -> [u64; 3] {
    [BUFFER + 32 * request, BUFFER + (1 + request) * PAGE, BUFFER + 32 * request + 16]
}

fn timed(act: impl FnOnce()) -> u64 {
    let start = time::tsc();
    act();
    time::tsc() - start
}

fn end_of_ram() -> u64 {
    let ram = start_info::memory_map().filter(|region| region.kind == start_info::RAM);
    ram.map(|region| region.range.end).max().unwrap_or_default()
}

fn end_of_large_pages() -> u64 {
    end_of_ram() / LARGE_PAGE * LARGE_PAGE
}
