// SPDX-License-Identifier: MIT OR Apache-2.0
//! The names of all tests in the tree, as their sources tell them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::Attribute;
use syn::Expr;
use syn::ExprCall;
use syn::LitStr;
use syn::visit;
use syn::visit::Visit;
use tests::catalogue::PROGRAMS;

use crate::pattern::expand;
use crate::pattern::is_part;
use crate::pattern::with_holes;

/// The crates whose tests run on the host.
const CRATES: [&str; 9] = [
    "boot",
    "hypervisor",
    "evmcs",
    "enlightenments",
    "hyperv-bindings",
    "ci",
    "ci/agent",
    "tests",
    "tests/workload",
];

/// What a name of a test may start with, as it is printed.
const LEGS: [&str; 3] = ["host ", "bare ", "kvm "];

/// All of them.
pub struct Names {
    /// Paths of tests, with `*` where a test's name is put together when it runs.
    tests: BTreeSet<String>,
    fuzz_targets: BTreeSet<String>,
}

impl Names {
    /// Those of the tree at `root`.
    ///
    /// # Errors
    /// When a file cannot be read, or is no Rust.
    pub fn of_tree(root: &Path) -> Result<Self> {
        let mut tests = BTreeSet::new();
        for folder in CRATES.map(|name| root.join(name)) {
            for source in ["src", "tests"] {
                let source = folder.join(source);
                for file in rust_files(&source)? {
                    tests.extend(host_tests(&folder, &source, &file)?);
                }
            }
        }
        tests.extend(system_tests(&root.join("tests/system"))?);
        let targets = rust_files(&root.join("tests/fuzz/targets"))?;
        let stem = |file: &PathBuf| Some(file.file_stem()?.to_str()?.to_owned());
        Ok(Self { tests, fuzz_targets: targets.iter().filter_map(stem).collect() })
    }

    /// What `name` stands for that is no part of the path of any test.
    pub fn missing_tests(&self, name: &str) -> Vec<String> {
        let name = LEGS.iter().find_map(|leg| name.strip_prefix(leg)).unwrap_or(name);
        let is_missing = |name: &String| !self.tests.iter().any(|test| is_part(name, test));
        expand(name.trim_end_matches("::")).into_iter().filter(is_missing).collect()
    }

    /// What `name` stands for that is no fuzz target.
    pub fn missing_targets(&self, name: &str) -> Vec<String> {
        let is_missing = |name: &String| !self.fuzz_targets.iter().any(|target| is_part(name, target));
        expand(name).into_iter().filter(is_missing).collect()
    }
}

/// All Rust files in a folder and below it, if it is there.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(files) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn parse(file: &Path) -> Result<syn::File> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    syn::parse_file(&text).with_context(|| format!("in {}", file.display()))
}

/// The tests in a file of a crate's, whose path is that of the file.
fn host_tests(folder: &Path, source: &Path, file: &Path) -> Result<Vec<String>> {
    let crate_name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = file.strip_prefix(source)?.with_extension("");
    let modules = place.iter().map(|part| part.to_string_lossy().into_owned());
    let is_module = |part: &String| !["lib", "main", "mod"].contains(&part.as_str());
    let mut found = HostTests {
        path: [crate_name].into_iter().chain(modules.filter(is_module)).collect(),
        tests: Vec::new(),
    };
    found.visit_file(&parse(file)?);
    Ok(found.tests)
}

struct HostTests {
    path: Vec<String>,
    tests: Vec<String>,
}

impl HostTests {
    fn add(&mut self, name: &str) {
        self.tests.push(format!("{}::{name}", self.path.join("::")));
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("test")
}

impl<'ast> Visit<'ast> for HostTests {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.path.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.path.pop();
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.attrs.iter().any(is_test) {
            self.add(&function.sig.ident.to_string());
        }
    }

    /// As those of properties are.
    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let mut after_test = false;
        let mut after_fn = false;
        for token in invocation.tokens.clone() {
            match &token {
                TokenTree::Group(group) if group.stream().to_string() == "test" => after_test = true,
                TokenTree::Ident(name) if after_fn && after_test => {
                    self.add(&name.to_string());
                    after_test = false;
                }
                _ => {}
            }
            after_fn = matches!(&token, TokenTree::Ident(word) if word == "fn");
        }
    }
}

/// The system tests: each program in each round, and what else the sources call a test.
fn system_tests(folder: &Path) -> Result<Vec<String>> {
    let mut found = SystemTests::default();
    for file in rust_files(folder)? {
        found.visit_file(&parse(&file)?);
    }
    let SystemTests { rounds, parts, names } = found;
    let in_each_round =
        |test: &str| rounds.iter().map(move |round| format!("{round}::{test}")).collect::<Vec<_>>();
    let of_programs = PROGRAMS.iter().flat_map(|program| in_each_round(program.name));
    let of_rounds = names.iter().filter_map(|name| name.strip_prefix("*::")).flat_map(in_each_round);
    let others = names.iter().filter(|name| !name.starts_with("*::")).cloned();
    Ok(of_programs.chain(of_rounds).chain(others).chain(parts.iter().cloned()).collect())
}

#[derive(Default)]
struct SystemTests {
    /// Names of rounds.
    rounds: Vec<String>,
    /// What a round shows, beside its programs.
    parts: Vec<String>,
    /// Whole names.
    names: Vec<String>,
}

impl SystemTests {
    fn text(&mut self, text: &str) {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:{}".contains(c);
        let name = with_holes(text);
        // A round and a program, neither of which is told here: those are known otherwise.
        if text.contains("::") && text.chars().all(is_name) && name != "*::*" {
            self.names.push(name);
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<LitStr>(&literal.to_string()) {
                        self.text(&text.value());
                    }
                }
                _ => {}
            }
        }
    }
}

/// The text that an expression is.
fn text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}

impl<'ast> Visit<'ast> for SystemTests {
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let (Expr::Path(function), Some(name)) = (&*call.func, call.args.first().and_then(text)) {
            let function = function.path.segments.last().map(|last| last.ident.to_string());
            match function.as_deref() {
                Some("usual" | "all") => self.rounds.push(name),
                // An enlightenment, which a round is without.
                Some("of") => self.rounds.push(format!("without_{}", name.replace('-', "_"))),
                _ => {}
            }
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_struct(&mut self, value: &'ast syn::ExprStruct) {
        if value.path.is_ident("Shown") {
            let field = |wanted: &str| {
                let named = |field: &&syn::FieldValue| matches!(&field.member, syn::Member::Named(name) if name == wanted);
                value.fields.iter().find(named).and_then(|field| text(&field.expr))
            };
            self.parts
                .extend(field("round").zip(field("name")).map(|(round, name)| format!("{round}::{name}")));
        }
        visit::visit_expr_struct(self, value);
    }

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        self.text(&literal.value());
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.tokens(invocation.tokens.clone());
    }
}
