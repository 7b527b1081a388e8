// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page in which other CPUs start: from real mode to long mode on our own page tables, and from there to Rust.
//!
//! Nobody knows when a CPU that was told to start does, nor how often. So it takes a ticket first, of which there is one at a
//! time, and halts if there is none. The page is kept for ever, and outside of bring-up has no ticket.

// UNSAFETY: the code that other CPUs run, copied to where they can.
#![expect(unsafe_code)]

use crate::memory::FRAME;
use crate::memory::OutOfFrames;
use crate::memory::address_space;
use crate::memory::physical;
use core::arch::global_asm;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering;
use x86_64::VirtAddr;

/// Where the parameters are in the page, behind the code.
const PARAMETERS: usize = 0x100;
const CODE_64: u16 = 0x08;
const CODE_32: u16 = 0x10;
const DATA_32: u16 = 0x18;

/// What the code finds behind it.
#[repr(C)]
struct Parameters {
    /// 1 while a CPU may start; the one that takes it leaves 0.
    ticket: AtomicU32,
    /// Physical address of the page tables.
    root: u32,
    /// Where to go on in protected mode, and then in long mode.
    protected_mode: FarPointer,
    long_mode: FarPointer,
    gdt_pointer: GdtPointer,
    stack: u64,
    /// The Rust function, and its argument.
    entry: u64,
    argument: u64,
    gdt: [u64; 4],
}

/// As a far jump wants it.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct FarPointer {
    offset: u32,
    selector: u16,
}

/// As LGDT wants it.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct GdtPointer {
    limit: u16,
    base: u32,
}

const _: () = assert!(PARAMETERS + size_of::<Parameters>() <= FRAME as usize);

global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .balign 16
    .code16
    .global satori_trampoline
satori_trampoline:
    cli
    cld
    mov ax, cs                              # its base is the page
    mov ds, ax
    xor eax, eax
    xchg dword ptr ds:[{ticket}], eax
    test eax, eax
    jnz 2f
1:  hlt                                     # nobody waits for this CPU
    jmp 1b
2:  xor ebx, ebx
    mov bx, cs
    shl ebx, 4
    lgdt [{gdt_pointer}]
    mov eax, 0x11                           # CR0: PE, ET; the cache is on
    mov cr0, eax
    jmp fword ptr ds:[{protected_mode}]

    .code32
satori_trampoline_protected_mode:
    mov ax, {data_32}
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, 0x20                           # CR4: PAE, as on the boot CPU until VMX is on
    mov cr4, eax
    mov eax, [ebx + {root}]
    mov cr3, eax
    mov edi, ebx                            # CPUID takes EBX
    mov eax, 0x80000001
    cpuid
    mov ebx, edi
    test edx, 0x100000                      # no NX: firmware has turned it off in IA32_MISC_ENABLE
    jnz 3f
    mov ecx, 0x1a0
    rdmsr
    and edx, 0xfffffffb
    wrmsr
3:  mov ecx, 0xc0000080                     # IA32_EFER: LME and NXE
    rdmsr
    or eax, 0x900
    wrmsr
    mov eax, 0x80010033                     # CR0: PG, WP, NE, ET, MP, PE, as on the boot CPU
    mov cr0, eax
    jmp fword ptr [ebx + {long_mode}]

    .code64
satori_trampoline_long_mode:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov rsp, [rbx + {stack}]
    mov rdi, [rbx + {argument}]
    mov rax, [rbx + {entry}]
    xor ebp, ebp
    push rbp
    jmp rax
satori_trampoline_end:
    .text
"#,
    ticket = const PARAMETERS + offset_of!(Parameters, ticket),
    root = const PARAMETERS + offset_of!(Parameters, root),
    protected_mode = const PARAMETERS + offset_of!(Parameters, protected_mode),
    long_mode = const PARAMETERS + offset_of!(Parameters, long_mode),
    gdt_pointer = const PARAMETERS + offset_of!(Parameters, gdt_pointer),
    stack = const PARAMETERS + offset_of!(Parameters, stack),
    entry = const PARAMETERS + offset_of!(Parameters, entry),
    argument = const PARAMETERS + offset_of!(Parameters, argument),
    data_32 = const DATA_32,
);

unsafe extern "C" {
    static satori_trampoline: u8;
    static satori_trampoline_protected_mode: u8;
    static satori_trampoline_long_mode: u8;
    static satori_trampoline_end: u8;
}

/// The page, with its code in place and mapped where it lies.
#[derive(Debug)]
pub struct Trampoline {
    page: u64,
}

impl Trampoline {
    /// Puts the code there. CPUs will run on the tables that this one runs on.
    ///
    /// # Safety
    /// `page` is a page of RAM below 1 MiB, not the first, and from now on nobody else's.
    pub unsafe fn place(page: u64) -> Result<Self, OutOfFrames> {
        let code = &raw const satori_trampoline;
        let from_start = |symbol: *const u8| symbol.addr() - code.addr();
        let length = from_start(&raw const satori_trampoline_end);
        assert!(length <= PARAMETERS, "the trampoline's code lies before its parameters");
        let at = |symbol| page as u32 + from_start(symbol) as u32;
        let parameters = Parameters {
            ticket: AtomicU32::new(0),
            root: address_space::root(),
            protected_mode: FarPointer {
                offset: at(&raw const satori_trampoline_protected_mode),
                selector: CODE_32,
            },
            long_mode: FarPointer { offset: at(&raw const satori_trampoline_long_mode), selector: CODE_64 },
            gdt_pointer: GdtPointer {
                limit: size_of::<[u64; 4]>() as u16 - 1,
                base: page as u32 + (PARAMETERS + offset_of!(Parameters, gdt)) as u32,
            },
            stack: 0,
            entry: 0,
            argument: 0,
            // 64-bit code, and code and data of 4 GiB. All accessed already: the page cannot be written where it is mapped.
            gdt: [0, 0x0020_9b00_0000_0000, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff],
        };
        let trampoline = Self { page };
        // SAFETY: the code is as long as that, and the page is ours, in the direct map, and long enough for both.
        unsafe {
            ptr::copy_nonoverlapping(code, physical::pointer(page), length);
            trampoline.parameters().write(parameters);
        }
        address_space::map_identity(page)?;
        Ok(trampoline)
    }

    /// What SIPI takes for it.
    #[must_use]
    pub fn number(&self) -> u8 {
        (self.page / FRAME) as u8
    }

    /// Lets one CPU start: on that stack, at `entry` with `argument`.
    ///
    /// # Safety
    /// Nobody uses the stack as long as the ticket is out, and `entry` can be called with `argument` once.
    pub unsafe fn offer<T>(
        &self,
        stack: VirtAddr,
        entry: extern "sysv64" fn(&'static T) -> !,
        argument: &'static T,
    ) {
        let parameters = self.parameters();
        // SAFETY: the page is ours; a CPU reads the rest only after it has the ticket.
        unsafe {
            (&raw mut (*parameters).stack).write_volatile(stack.as_u64());
            (&raw mut (*parameters).entry).write_volatile(entry as *const () as u64);
            (&raw mut (*parameters).argument).write_volatile(ptr::from_ref(argument).addr() as u64);
        }
        self.ticket().store(1, Ordering::Release);
    }

    /// Whether a CPU has begun to start.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.ticket().load(Ordering::Acquire) == 0
    }

    /// Takes the ticket back; `false` if a CPU was faster, and is on its way.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.ticket().swap(0, Ordering::AcqRel) != 0
    }

    /// Ends the time in which CPUs can start. Their page is no longer mapped where it lies.
    pub fn close(self) {
        assert!(self.is_taken(), "no CPU is offered a start on a page that goes");
        address_space::unmap_identity(self.page);
    }

    fn ticket(&self) -> &AtomicU32 {
        // SAFETY: in place since `place`, and only ever an atomic.
        unsafe { &(*self.parameters()).ticket }
    }

    fn parameters(&self) -> *mut Parameters {
        physical::pointer(self.page + PARAMETERS as u64).cast()
    }
}

const _: () = assert!(PARAMETERS.is_multiple_of(align_of::<Parameters>()));
