// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page below 1 MiB where a vCPU starts: it notes the state that it finds, and goes up to long mode and to Rust.

use crate::control;
use crate::idt;
use crate::physical;
use crate::start_info;
use crate::verdict::expect;

/// Its address.
pub const PAGE: u64 = 0x8000;
/// The SIPI's vector for it.
pub const VECTOR: u32 = (PAGE >> 12) as u32;

/// Offsets in the page: what was found, how often it was entered, and what the way up needs.
const RECORD: u64 = 0xe00;
const ARRIVALS: u64 = 0xef0;
const DESCRIPTORS: u64 = 0xf00;
const TABLES: u64 = 0xf08;
const STACK: u64 = 0xf10;
const ENTRY: u64 = 0xf18;

/// What a vCPU found when it started: its state after INIT and SIPI (SDM volume 3, table 11-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI.
    pub general: [u32; 8],
    /// CR0, CR2, CR3, CR4.
    pub control: [u32; 4],
    /// DR6, DR7.
    pub debug: [u32; 2],
    /// EFLAGS.
    pub flags: u32,
    /// Selectors of CS, DS, ES, SS, FS, GS.
    pub selectors: [u16; 6],
    /// Limit and base of GDTR and of IDTR; in 16-bit code the base has 24 bits at least.
    pub tables: [(u16, u32); 2],
    /// IA32_EFER and IA32_PAT.
    pub msrs: [u64; 2],
}

/// What the last vCPU that started found.
#[must_use]
pub fn arrival() -> Arrival {
    let word = |index: usize| physical::read::<u32>(PAGE + RECORD + 4 * index as u64);
    let half = |offset: u64| physical::read::<u16>(PAGE + RECORD + offset);
    let table = |offset: u64| (half(offset), u32::from(half(offset + 2)) | u32::from(half(offset + 4)) << 16);
    let wide = |index| u64::from(word(index)) | u64::from(word(index + 1)) << 32;
    Arrival {
        general: core::array::from_fn(word),
        control: core::array::from_fn(|index| word(8 + index)),
        debug: core::array::from_fn(|index| word(12 + index)),
        flags: word(14),
        selectors: core::array::from_fn(|index| half(60 + 2 * index as u64)),
        tables: [table(72), table(80)],
        msrs: [wide(22), wide(24)],
    }
}

/// How often a vCPU has started here since the trampoline was written.
#[must_use]
pub fn arrivals() -> u32 {
    physical::read(PAGE + ARRIVALS)
}

/// Writes the page, for a vCPU that is to come to `entry` on the stack that ends at `stack`, and forgets what was noted.
pub fn write(stack: u64, entry: extern "C" fn() -> !) {
    let page = PAGE..PAGE + 0x1000;
    let free = start_info::occupied().iter().all(|taken| taken.end <= page.start || page.end <= taken.start);
    expect("the loader has left the page of the trampoline", free);
    for address in page.step_by(8) {
        physical::write(address, 0_u64);
    }
    for (address, byte) in (PAGE..).zip(code()) {
        physical::write(address, *byte);
    }
    let (limit, base) = idt::descriptors();
    physical::write(PAGE + DESCRIPTORS, limit);
    physical::write(PAGE + DESCRIPTORS + 2, base as u16);
    physical::write(PAGE + DESCRIPTORS + 4, (base >> 16) as u16);
    physical::write(PAGE + TABLES, control::cr3());
    physical::write(PAGE + STACK, stack);
    physical::write(PAGE + ENTRY, (entry as *const ()).addr() as u64);
}

/// Writes another page, at which any number of vCPUs may start at once: they are counted, and halt.
pub fn prepare_to_count() {
    // lock inc dword ptr cs:[ARRIVALS]; cli; hlt; jmp to hlt
    let [low, high] = (ARRIVALS as u16).to_le_bytes();
    let code = [0x66, 0xf0, 0x2e, 0xff, 0x06, low, high, 0xfa, 0xf4, 0xeb, 0xfd];
    for (address, byte) in (PAGE..).zip(code) {
        physical::write(address, byte);
    }
    physical::write(PAGE + ARRIVALS, 0_u32);
}

#[cfg(target_os = "none")]
fn code() -> &'static [u8] {
    unsafe extern "C" {
        static trampoline_start: u8;
        static trampoline_end: u8;
    }
    let (start, end) = (&raw const trampoline_start, &raw const trampoline_end);
    // SAFETY: the assembly below defines these bytes, and nobody writes them.
    unsafe { core::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

#[cfg(not(target_os = "none"))]
fn code() -> &'static [u8] {
    &[]
}

#[cfg(target_os = "none")]
core::arch::global_asm!(
    r#"
    .section .text.trampoline, "ax"
    .code16
trampoline_start:
    mov cs:[{record} + 16], esp
    pushfd
    mov cs:[{record}], eax
    mov cs:[{record} + 4], ecx
    mov cs:[{record} + 8], edx
    mov cs:[{record} + 12], ebx
    mov cs:[{record} + 20], ebp
    mov cs:[{record} + 24], esi
    mov cs:[{record} + 28], edi
    mov eax, cr0
    mov cs:[{record} + 32], eax
    mov eax, cr2
    mov cs:[{record} + 36], eax
    mov eax, cr3
    mov cs:[{record} + 40], eax
    mov eax, cr4
    mov cs:[{record} + 44], eax
    mov eax, dr6
    mov cs:[{record} + 48], eax
    mov eax, dr7
    mov cs:[{record} + 52], eax
    pop eax
    mov cs:[{record} + 56], eax
    mov word ptr cs:[{record} + 60], cs
    mov word ptr cs:[{record} + 62], ds
    mov word ptr cs:[{record} + 64], es
    mov word ptr cs:[{record} + 66], ss
    mov word ptr cs:[{record} + 68], fs
    mov word ptr cs:[{record} + 70], gs
    sgdt cs:[{record} + 72]
    sidt cs:[{record} + 80]
    mov ecx, 0xc0000080                     # IA32_EFER
    rdmsr
    mov cs:[{record} + 88], eax
    mov cs:[{record} + 92], edx
    mov ecx, 0x277                          # IA32_PAT
    rdmsr
    mov cs:[{record} + 96], eax
    mov cs:[{record} + 100], edx
    lock inc dword ptr cs:[{arrivals}]

    cli
    .byte 0x2e, 0x66, 0x0f, 0x01, 0x16      # LGDT CS:[...] with a 32-bit base
    .short {descriptors}
    mov eax, cr0
    and eax, 0x9fffffff                     # CD and NW
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                        # far jump with a 32-bit offset
    .long trampoline_protected_at
    .short 0x18
    .code32
trampoline_protected:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, 0x20                           # CR4: PAE
    mov cr4, eax
    mov eax, [{page} + {tables}]
    mov cr3, eax
    mov ecx, 0xc0000080                     # IA32_EFER: LME and NXE
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033                     # CR0: PG, WP, NE, ET, MP, PE
    mov cr0, eax
    ljmp 0x08, offset trampoline_long_at
    .code64
trampoline_long:
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov ebx, {page}
    mov rsp, [rbx + {stack}]
    xor ebp, ebp
    push rbp
    jmp [rbx + {entry}]
trampoline_end:
    # Where labels are once the code has been copied.
    .set trampoline_protected_at, {page} + trampoline_protected - trampoline_start
    .set trampoline_long_at, {page} + trampoline_long - trampoline_start
    .global trampoline_start
    .global trampoline_end
    .text
"#,
    page = const PAGE,
    record = const RECORD,
    arrivals = const ARRIVALS,
    descriptors = const DESCRIPTORS,
    tables = const TABLES,
    stack = const STACK,
    entry = const ENTRY,
);
