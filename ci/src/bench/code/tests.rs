// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of counting code.

use super::*;

fn counted(text: &str) -> [u64; 3] {
    let (code, _) = of_text(text).unwrap();
    [code.lines, code.unsafe_lines, code.unsafe_places]
}

#[test]
fn comments_documentation_and_blank_lines_are_no_code() {
    let text = "\
// A comment.
//! What it is.
#![forbid(unsafe_code)]

/// Documentation,
/// of two lines.
fn one() /* in between */ {
    /* and
       a long one */

}
";
    assert_eq!(counted(text), [3, 0, 0]);
}

#[test]
fn all_lines_of_a_long_text_are_code() {
    assert_eq!(counted("const TEXT: &str = \"one\n\ntwo\";\n"), [3, 0, 0]);
}

#[test]
fn tests_are_no_code_but_what_is_also_for_something_else_is() {
    let text = "\
#[cfg(test)]
use a::{
    b,
};
#[cfg(all(test, feature = \"x\"))]
mod tests {
    fn none() {}
}
#[cfg(any(test, feature = \"x\"))]
fn both() {}
#[cfg(not(test))]
fn other() {}
struct S;
impl S {
    #[cfg(test)]
    fn of_tests() {}
}
";
    assert_eq!(counted(text), [7, 0, 0]);
}

#[test]
fn unsafe_is_counted_by_block_function_and_implementation() {
    let text = "\
fn safe() {
    let a = 1;
    // SAFETY: a test.
    unsafe {
        b();
    }
    let c = unsafe { d() };
}
unsafe fn all() {
    e();
}
unsafe impl Send for F {}
unsafe extern \"C\" {
    fn g();
}
#[unsafe(no_mangle)]
extern \"C\" fn no_block() {}
";
    assert_eq!(counted(text), [16, 11, 5]);
}

#[test]
fn a_block_in_an_unsafe_function_counts_but_its_lines_count_once() {
    assert_eq!(counted("unsafe fn a() {\n    unsafe {\n        b()\n    }\n}\n"), [5, 5, 2]);
}

#[test]
fn unsafe_blocks_in_macros_are_seen() {
    let text = "macro_rules! m {\n    () => {\n        unsafe { f() }\n    };\n}\nfn g() {\n    h!(unsafe { i() });\n}\n";
    assert_eq!(counted(text), [8, 2, 2]);
}

#[test]
fn a_crate_is_the_modules_that_it_declares_and_not_its_tests() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join("src").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod tests;\nmod inline {\n    mod c;\n}\n");
    write("a.rs", "mod deep;\n");
    write("a/deep.rs", "fn f() {}\n");
    write("b/mod.rs", "unsafe fn g() {}\n");
    write("inline/c.rs", "fn h() {}\n");
    write("tests.rs", "fn t() {}\n");
    write("nobody.rs", "not Rust at all {\n");
    let code = of_crate(folder.path()).unwrap();
    assert_eq!(code, Code { lines: 5 + 1 + 1 + 1 + 1, unsafe_lines: 1, unsafe_places: 1 });
}
