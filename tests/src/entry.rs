// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first instructions of a guest program: from the 32-bit state of the PVH and multiboot protocols to Rust in long mode.
//!
//! The loader leaves us in 32-bit protected mode without paging, the address of what it tells us in EBX, and by multiboot a
//! magic number in EAX. The first thing that is done is to read the TSC. The tables built
//! here map the first 4 GiB to themselves with 2 MiB pages, all writable and executable.

// UNSAFETY: there is no Rust before there is a stack; this is assembly.
#![expect(unsafe_code)]

use crate::idt;
use crate::multiboot;
use crate::serial;
use crate::start_info;
use crate::time;
use crate::verdict;
use core::arch::global_asm;

/// Bytes of the only stack. Interrupts are taken on it too.
const STACK_SIZE: usize = 64 << 10;

global_asm!(
    r#"
    .section .text.entry, "ax"
    .code32
    .global entry_32
entry_32:
    cli
    cld
    mov edi, ebx
    mov esi, eax
    rdtsc
    mov [first_tsc], eax
    mov [first_tsc + 4], edx
    # Four page directories: 2048 entries of 2 MiB, present, writable.
    mov ecx, 2048
    mov eax, 0x83
    mov ebx, offset page_directories
1:  mov [ebx], eax
    mov dword ptr [ebx + 4], 0
    add ebx, 8
    add eax, 0x200000
    dec ecx
    jnz 1b
    mov eax, offset page_directories + 3
    mov [page_directory_pointers], eax
    add eax, 0x1000
    mov [page_directory_pointers + 8], eax
    add eax, 0x1000
    mov [page_directory_pointers + 16], eax
    add eax, 0x1000
    mov [page_directory_pointers + 24], eax
    mov eax, offset page_directory_pointers + 3
    mov [page_map_level_4], eax

    mov eax, 0x20                           # CR4: PAE
    mov cr4, eax
    mov eax, offset page_map_level_4
    mov cr3, eax
    mov ecx, 0xc0000080                     # IA32_EFER: LME and NXE
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033                     # CR0: PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [global_descriptors_pointer]
    ljmp 0x08, offset long_mode_entry

    .code64
long_mode_entry:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov rsp, offset stack_top
    xor ebp, ebp
    push rbp
    mov rdx, [first_tsc]
    jmp {start}

    .section .data.global_descriptors, "aw"
    .balign 8
global_descriptors:
    .quad 0
    .quad 0x00af9b000000ffff                # 0x08: 64-bit code
    .quad 0x00cf93000000ffff                # 0x10: data, flat
    .quad 0x00cf9b000000ffff                # 0x18: 32-bit code, flat
    .quad 0x00009b000000ffff                # 0x20: 16-bit code, 64 KiB from 0
    .quad 0x000093000000ffff                # 0x28: 16-bit data, 64 KiB from 0
    .global global_descriptors_pointer
global_descriptors_pointer:
    .short global_descriptors_pointer - global_descriptors - 1
    .quad global_descriptors

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global page_map_level_4
page_map_level_4: .skip 4096
page_directory_pointers: .skip 4096
page_directories: .skip 4 * 4096
first_tsc: .skip 8
    .balign 4096
    .skip {stack_size}
stack_top:
    .text
"#,
    stack_size = const STACK_SIZE,
    start = sym start,
);

unsafe extern "C" {
    /// What [`crate::program!`] defines.
    safe fn program();
}

/// Where the assembly ends: `information` is the physical address that the loader left, `magic` tells of multiboot, and `tsc` is
/// the TSC at the first instruction.
extern "C" fn start(information: u32, magic: u32, tsc: u64) -> ! {
    time::set_at_entry(tsc);
    start_info::set(information);
    multiboot::set(information, magic);
    serial::initialise();
    idt::load();
    program();
    verdict::pass()
}
