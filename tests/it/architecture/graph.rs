//! Which file uses which: paths are followed through imports and re-exports to the file that defines the item.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{self, Module};

/// The library's name in paths of the programs.
pub(super) const LIBRARY: &str = "rpingmesh";

/// How often a name may lead on to another: an import of an import of an import.
const MAX_STEPS: usize = 16;

/// A file and its text.
pub(super) struct Source {
    /// From the root of the package, such as `src/probe/flow.rs`.
    pub file: String,
    pub text: String,
}

/// `from` uses something that `to` defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    pub from: String,
    pub to: String,
    pub line: usize,
    /// The path as it is written.
    pub path: String,
    /// Only handed on (`pub use`).
    pub re_export: bool,
}

struct Known {
    file: String,
    module: Module,
}

/// All modules of the library and of the programs by their full path; the first segment is the crate.
pub(super) struct Graph {
    modules: BTreeMap<Vec<String>, Known>,
}

/// The full path of a file's module: `[rpingmesh, probe, flow]`, `[bin:rpingmesh-agent, ping]`.
pub(super) fn module_path(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let mut parts: Vec<&str> = inner.split('/').collect();
    let root = if parts[0] == "bin" {
        let program = format!("bin:{}", parts[1]);
        parts.drain(..2);
        program
    } else {
        LIBRARY.to_owned()
    };
    if matches!(parts[..], ["lib" | "main"]) {
        parts.clear();
    }
    std::iter::once(root)
        .chain(parts.into_iter().map(str::to_owned))
        .collect()
}

impl Graph {
    /// Reads all sources. Without `with_tests`, files and items for tests are left out.
    pub(super) fn read(sources: &[Source], with_tests: bool) -> Self {
        let mut modules = BTreeMap::new();
        let mut for_tests = Vec::new();
        for Source { file, text } in sources {
            let path = module_path(file);
            for module in source::read(text, with_tests) {
                let mut path = path.clone();
                path.extend(module.inside.iter().cloned());
                for child in &module.test_children {
                    let mut child_path = path.clone();
                    child_path.push(child.clone());
                    for_tests.push(child_path);
                }
                let file = file.clone();
                modules.insert(path, Known { file, module });
            }
        }
        modules.retain(|path, _| !for_tests.iter().any(|test| path.starts_with(test)));
        Self { modules }
    }

    /// Names of the library's modules, as lib.rs declares them.
    pub(super) fn library_modules(&self) -> BTreeSet<String> {
        self.modules
            .get(&vec![LIBRARY.to_owned()])
            .map(|root| root.module.children.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Every use of one file by another.
    pub(super) fn uses(&self) -> BTreeSet<Use> {
        let mut uses = BTreeSet::new();
        for (at, known) in &self.modules {
            let imports = known.module.imports.iter().map(|import| {
                (
                    &import.path,
                    import.line,
                    import.re_export,
                    &*import.name == "*",
                )
            });
            let named = known
                .module
                .named
                .iter()
                .map(|named| (&named.path, named.line, false, false));
            for (path, line, re_export, glob) in imports.chain(named) {
                let Some((to, whole_module)) = self.resolve(at, path, 0) else {
                    continue;
                };
                // The import of a module's name uses nothing yet; what is named through it does.
                let to = &self.modules[&to].file;
                if *to != known.file && (!whole_module || glob) {
                    uses.insert(Use {
                        from: known.file.clone(),
                        to: to.clone(),
                        line,
                        path: path.join("::"),
                        re_export,
                    });
                }
            }
        }
        uses
    }

    /// The module that defines what `path` names in module `at`, and whether it names the module itself.
    fn resolve(&self, at: &[String], path: &[String], steps: usize) -> Option<(Vec<String>, bool)> {
        let mut module = at.to_vec();
        let mut rest = path;
        match &*rest[0] {
            "crate" => {
                module.truncate(1);
                rest = &rest[1..];
            }
            LIBRARY if at[0] != LIBRARY => {
                module = vec![LIBRARY.to_owned()];
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            _ => {
                let name = &rest[0];
                let known = &self.modules.get(&module)?.module;
                let here = known.children.contains(name)
                    || known.imports.iter().any(|import| import.name == *name);
                if !here {
                    return None;
                }
            }
        }
        self.walk(module, rest, steps)
    }

    fn walk(
        &self,
        mut module: Vec<String>,
        mut rest: &[String],
        steps: usize,
    ) -> Option<(Vec<String>, bool)> {
        if steps > MAX_STEPS {
            return None;
        }
        while let Some(name) = rest.first() {
            let known = &self.modules.get(&module)?.module;
            let mut child = module.clone();
            child.push(name.clone());
            if self.modules.contains_key(&child) {
                module = child;
                rest = &rest[1..];
                continue;
            }
            if known.items.contains(name) {
                return Some((module, false));
            }
            let imports = known
                .imports
                .iter()
                .filter(|import| import.name == *name || import.name == "*");
            for import in imports {
                let mut path = import.path.clone();
                // `use x` in its own module would lead back to itself.
                if path == [name.clone()] {
                    continue;
                }
                let hidden = if import.name == "*" { rest } else { &rest[1..] };
                path.extend(hidden.iter().cloned());
                let found = self.resolve(&module, &path, steps + 1);
                let defines = |(to, _): &(Vec<String>, bool)| {
                    import.name != "*" || self.modules[to].module.items.contains(name)
                };
                if let Some(found) = found.filter(defines) {
                    return Some(found);
                }
            }
            return Some((module, false));
        }
        self.modules.contains_key(&module).then_some((module, true))
    }
}

/// Groups of nodes that lead to each other, largest first.
pub(super) fn circles(edges: &BTreeSet<(String, String)>) -> Vec<Vec<String>> {
    let mut after: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges {
        after.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = after
        .keys()
        .map(|from| (*from, reach(&after, from)))
        .collect();
    let mut found = BTreeSet::new();
    for (from, nodes) in &reached {
        let circle: Vec<String> = nodes
            .iter()
            .filter(|to| reached.get(*to).is_some_and(|back| back.contains(from)))
            .map(|node| (*node).to_owned())
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    found
}

/// All nodes that can be reached from one.
fn reach<'a>(after: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = after.get(from).into_iter().flatten().copied().collect();
    while let Some(node) = open.pop() {
        if reached.insert(node) {
            open.extend(after.get(node).into_iter().flatten());
        }
    }
    reached
}
