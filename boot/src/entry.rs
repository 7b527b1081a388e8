// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first instructions: from the 32-bit state in which loaders leave us to Rust in long mode.
//!
//! Both doors, multiboot2 and PVH, open in 32-bit protected mode without paging, with one pointer in EBX. The
//! tables built here map the first 4 GiB three times, with 2 MiB pages: where they are, in the direct map, and (its first
//! GiB) where the image is linked. The hypervisor replaces them with its own, which are not writable and executable at once.

// UNSAFETY: there is no Rust before there is a stack; this is assembly.
#![expect(unsafe_code)]

use core::arch::global_asm;

/// Which door it was, as the assembly tells [`crate::rust_entry`].
pub const BY_MULTIBOOT2: u32 = 1;
/// See [`BY_MULTIBOOT2`].
pub const BY_PVH: u32 = 2;

/// Bytes of the stack on which the image starts; the hypervisor moves to one with a guard page.
const FIRST_STACK: usize = 64 << 10;

global_asm!(
    r#"
    .section .boot.header, "a"
    .balign 8
multiboot2_header:
    .long 0xe85250d6                        # magic, architecture i386, length, checksum
    .long 0
    .long multiboot2_header_end - multiboot2_header
    .long -(0xe85250d6 + 0 + (multiboot2_header_end - multiboot2_header))
    .short 6, 0                             # modules are to be page-aligned
    .long 8
    .short 0, 0                             # end of tags
    .long 8
multiboot2_header_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                          # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .boot.text, "ax"
    .code32
    .global multiboot2_entry
multiboot2_entry:
    xor edi, edi
    cmp eax, 0x36d76289                     # what a multiboot2 loader leaves there
    jne boot_to_long_mode
    mov edi, {by_multiboot2}
    jmp boot_to_long_mode
pvh_entry:
    mov edi, {by_pvh}

boot_to_long_mode:
    cli
    cld
    mov esi, ebx
    # Four page directories: 2048 entries of 2 MiB, present, writable.
    mov ecx, 2048
    mov eax, 0x83
    mov ebx, offset boot_directories
1:  mov [ebx], eax
    mov dword ptr [ebx + 4], 0
    add ebx, 8
    add eax, 0x200000
    dec ecx
    jnz 1b
    # One directory-pointer table for the low and the direct map, one for the image.
    mov eax, offset boot_directories + 3
    mov [boot_pdpt], eax
    mov [boot_image_pdpt + 510 * 8], eax
    add eax, 0x1000
    mov [boot_pdpt + 8], eax
    add eax, 0x1000
    mov [boot_pdpt + 16], eax
    add eax, 0x1000
    mov [boot_pdpt + 24], eax
    mov eax, offset boot_pdpt + 3
    mov [boot_pml4], eax
    mov [boot_pml4 + 256 * 8], eax
    mov eax, offset boot_image_pdpt + 3
    mov [boot_pml4 + 511 * 8], eax

    mov eax, 0x20                           # CR4: PAE, and nothing that firmware left
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    mov eax, 0x80000001
    cpuid
    test edx, 0x100000                      # no NX: firmware has turned it off in IA32_MISC_ENABLE
    jnz 2f
    mov ecx, 0x1a0
    rdmsr
    and edx, 0xfffffffb
    wrmsr
2:  mov ecx, 0xc0000080                     # IA32_EFER: LME and NXE
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033                     # CR0: PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    ljmp 0x08, offset boot_long_mode

    .code64
boot_long_mode:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    movabs rsp, offset first_stack_top
    movabs rax, offset {rust_entry}
    xor ebp, ebp
    push rbp
    jmp rax                                 # (edi, esi): which door, and what it left

    .balign 8
boot_gdt:
    .quad 0, 0x00209a0000000000             # 64-bit code
boot_gdt_pointer:
    .short boot_gdt_pointer - boot_gdt - 1
    .long boot_gdt

    .section .boot.tables, "aw", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_image_pdpt: .skip 4096
boot_directories: .skip 4 * 4096

    .section .bss.first_stack, "aw", @nobits
    .balign 16
    .skip {first_stack}
first_stack_top:
    .text
"#,
    by_multiboot2 = const BY_MULTIBOOT2,
    by_pvh = const BY_PVH,
    first_stack = const FIRST_STACK,
    rust_entry = sym crate::rust_entry,
);
