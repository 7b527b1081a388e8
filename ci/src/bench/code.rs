// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much code there is, and how much of it is `unsafe`: lines that the compiler sees, without tests, comments and blank
//! ones.

use std::collections::BTreeSet;
use std::fs;
use std::ops::AddAssign;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use anyhow::anyhow;
use proc_macro2::Delimiter;
use proc_macro2::TokenStream;
use proc_macro2::TokenTree;
use syn::Attribute;
use syn::Item;
use syn::Meta;
use syn::spanned::Spanned;
use syn::visit;
use syn::visit::Visit;

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// Lines.
    pub lines: u64,
    /// Those of them in unsafe blocks, functions, traits and implementations, their first and last lines included.
    pub unsafe_lines: u64,
    /// The number of such.
    pub unsafe_places: u64,
}

impl AddAssign for Code {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.unsafe_lines += other.unsafe_lines;
        self.unsafe_places += other.unsafe_places;
    }
}

/// What there is in a crate's library and its program.
///
/// # Errors
/// When a file cannot be read, or is no Rust.
pub fn of_crate(folder: &Path) -> Result<Code> {
    let source = folder.join("src");
    let mut code = Code::default();
    for root in ["lib.rs", "main.rs"].map(|name| source.join(name)) {
        if root.exists() {
            code += of_module(&root, &source)?;
        }
    }
    Ok(code)
}

/// What there is in `file`, and in the modules that it declares, whose files are in `children`.
fn of_module(file: &Path, children: &Path) -> Result<Code> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (mut code, modules) = of_text(&text).with_context(|| format!("in {}", file.display()))?;
    for module in modules {
        let folder = children.join(&module);
        let file =
            [folder.with_extension("rs"), folder.join("mod.rs")].into_iter().find(|file| file.exists());
        code += of_module(&file.with_context(|| format!("no file for {}", module.display()))?, &folder)?;
    }
    Ok(code)
}

/// What there is in one file, and the modules that it declares, but for tests.
fn of_text(text: &str) -> Result<(Code, Vec<PathBuf>)> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow!("no Rust: {error}"))?;
    let mut lines = BTreeSet::new();
    lines_of(tokens, &mut lines);
    let mut found = Found::default();
    found.visit_file(&syn::parse_file(text)?);
    for test in found.tests {
        lines.retain(|line| !test.contains(line));
    }
    let is_unsafe = |line: &&usize| found.unsafe_places.iter().any(|place| place.contains(line));
    let code = Code {
        lines: lines.len() as u64,
        unsafe_lines: lines.iter().filter(is_unsafe).count() as u64,
        unsafe_places: found.unsafe_places.len() as u64,
    };
    Ok((code, found.modules))
}

/// Adds the lines on which there is a token, but for those of documentation, which is an attribute to the compiler.
fn lines_of(tokens: TokenStream, lines: &mut BTreeSet<usize>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if matches!(&token, TokenTree::Punct(mark) if mark.as_char() == '#') {
            if let Some(bang) =
                tokens.next_if(|next| matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!'))
            {
                lines
                    .extend((!tokens.peek().is_some_and(is_documentation)).then(|| bang.span().start().line));
            }
            if tokens.next_if(is_documentation).is_some() {
                continue;
            }
        }
        match token {
            TokenTree::Group(group) => {
                lines.extend([group.span_open().start().line, group.span_close().end().line]);
                lines_of(group.stream(), lines);
            }
            other => lines.extend(lines_of_span(&other)),
        }
    }
}

fn is_documentation(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let first = group.stream().into_iter().next();
    group.delimiter() == Delimiter::Bracket && matches!(first, Some(TokenTree::Ident(name)) if name == "doc")
}

fn lines_of_span(part: &impl Spanned) -> RangeInclusive<usize> {
    let span = part.span();
    span.start().line..=span.end().line
}

/// What a walk through a file finds.
#[derive(Default)]
struct Found {
    /// The folder of the inline module that it is in, below that of the file's modules.
    within: PathBuf,
    modules: Vec<PathBuf>,
    tests: Vec<RangeInclusive<usize>>,
    unsafe_places: Vec<RangeInclusive<usize>>,
}

impl Found {
    fn place(&mut self, part: &impl Spanned) {
        self.unsafe_places.push(lines_of_span(part));
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            self.tests.push(lines_of_span(item));
        } else {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let path = self.within.join(module.ident.to_string());
        if module.content.is_none() {
            self.modules.push(path);
        } else {
            let outer = std::mem::replace(&mut self.within, path);
            visit::visit_item_mod(self, module);
            self.within = outer;
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if function.attrs.iter().any(is_for_tests) {
            self.tests.push(lines_of_span(function));
        } else {
            if function.sig.unsafety.is_some() {
                self.place(function);
            }
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.sig.unsafety.is_some() {
            self.place(function);
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if function.sig.unsafety.is_some() {
            self.place(function);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, implementation: &'ast syn::ItemImpl) {
        if implementation.unsafety.is_some() {
            self.place(implementation);
        }
        visit::visit_item_impl(self, implementation);
    }

    fn visit_item_trait(&mut self, declared: &'ast syn::ItemTrait) {
        if declared.unsafety.is_some() {
            self.place(declared);
        }
        visit::visit_item_trait(self, declared);
    }

    fn visit_item_foreign_mod(&mut self, block: &'ast syn::ItemForeignMod) {
        if block.unsafety.is_some() {
            self.place(block);
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.place(block);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        unsafe_blocks_in(invocation.tokens.clone(), &mut self.unsafe_places);
    }
}

/// Unsafe blocks in what is given to a macro or defines one, which is no tree yet.
fn unsafe_blocks_in(tokens: TokenStream, found: &mut Vec<RangeInclusive<usize>>) {
    let mut after_unsafe = None;
    for token in tokens {
        if let TokenTree::Group(group) = &token {
            if let (Some(line), Delimiter::Brace) = (after_unsafe, group.delimiter()) {
                found.push(line..=group.span_close().end().line);
            }
            unsafe_blocks_in(group.stream(), found);
        }
        let is_unsafe = matches!(&token, TokenTree::Ident(word) if word == "unsafe");
        after_unsafe = is_unsafe.then(|| token.span().start().line);
    }
}

/// Whether an attribute leaves what it stands on out of all but tests.
fn is_for_tests(attribute: &Attribute) -> bool {
    fn takes_test(meta: &Meta) -> bool {
        if let Meta::List(list) = meta
            && list.path.is_ident("all")
        {
            let parts =
                list.parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated);
            return parts.is_ok_and(|parts| parts.iter().any(takes_test));
        }
        meta.path().is_ident("test")
    }
    attribute.path().is_ident("test")
        || attribute.path().is_ident("cfg") && attribute.parse_args().is_ok_and(|meta| takes_test(&meta))
}

/// The attributes of an item.
fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
