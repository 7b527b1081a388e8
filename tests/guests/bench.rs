// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one operation costs, in ticks of the TSC: where one tick is one instruction, in instructions.
//!
//! Each line `bench: NAME N` is the TSC difference over a loop, divided by its rounds, rounded down. A round is the
//! assembly that stands beside the name, then DEC and JNZ, which `empty` has alone; nothing is subtracted.
#![cfg_attr(target_os = "none", no_std, no_main)]
// UNSAFETY: the loops are assembly, so that it is known what they consist of.
#![expect(unsafe_code)]

use core::arch::asm;
use tests::local_apic;
use tests::local_apic::LocalApic;
use tests::local_apic::Register;
use tests::msr;
use tests::say;
use tests::serial;
use tests::time;

tests::program!(run);

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
        ticks(WARM_UP);
        say!("bench: {} {}", $name, ticks(ROUNDS) / ROUNDS);
    }};
}

fn run() {
    let apic = LocalApic::enabled();
    apic.write(Register::LVT_TIMER, local_apic::DEADLINE | local_apic::MASKED);
    let eoi = local_apic::BASE + u64::from(Register::END_OF_INTERRUPT.0);

    bench!("empty", "");
    bench!("cpuid", "xor eax, eax\n cpuid");
    bench!("uart_status", "in al, dx", in("dx") serial::LINE_STATUS);
    bench!("rdmsr_apic_base", "rdmsr", in("ecx") msr::APIC_BASE);
    bench!("wrmsr_tsc_deadline", "wrmsr", in("ecx") msr::TSC_DEADLINE, in("eax") 0, in("edx") 0);
    bench!("xapic_eoi", "mov [rdi], esi", in("rdi") eoi, in("esi") 0);
}
