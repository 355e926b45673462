//! Links of the documents: every relative one leads to a file that exists, every anchor to a heading, and every function that
//! docs/follow-one-probe.md names is where it says.

use std::fs;
use std::path::{Path, PathBuf};

/// Every Markdown file of the repository that people read.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let at_the_top = fs::read_dir(root)
        .expect("the checkout")
        .map(|entry| entry.expect("readable entry").path());
    let mut found: Vec<PathBuf> = at_the_top.filter(|path| is_markdown(path)).collect();
    let mut folders = vec![
        root.join("docs"),
        root.join("packaging"),
        root.join("monitoring"),
        root.join("tests/vm"),
        root.join("nix/check"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if is_markdown(&path) {
                found.push(path);
            }
        }
    }
    found
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// Targets of the links in a text outside of code blocks: `](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("```")
        .step_by(2)
        .flat_map(|prose| prose.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    text.split("```")
        .step_by(2)
        .flat_map(str::lines)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// What is wrong with a link of the document at `path`.
fn mistake(path: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") || target.starts_with("http://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() {
        path.to_owned()
    } else {
        path.parent().expect("a folder").join(file)
    };
    if !file.exists() {
        return Some(format!("{}: no file for `{target}`", path.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    let text = fs::read_to_string(&file).expect("readable document");
    (!anchors(&text).iter().any(|known| known == anchor))
        .then(|| format!("{}: no heading for `{target}`", path.display()))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut mistakes = Vec::new();
    let mut seen = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).expect("readable document");
        for target in links(&text) {
            seen += 1;
            mistakes.extend(mistake(&path, target));
        }
    }
    assert!(seen > 10, "only {seen} links: the search finds none");
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn a_wrong_link_is_found() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    assert!(mistake(&readme, "docs/nonesuch.md").is_some());
    assert!(mistake(&readme, "docs/nix.md#no-such-heading").is_some());
    assert_eq!(mistake(&readme, "docs/nix.md#outputs"), None);
    assert_eq!(
        links("a [b](c.md) `x` ```\n[d](e)\n``` [f](#g)"),
        ["c.md", "#g"]
    );
}

/// The functions that docs/follow-one-probe.md names in order: step, type, function, file.
fn steps(text: &str) -> Vec<(usize, &str, &str, &str)> {
    text.lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let step = cells.get(1)?.parse().ok()?;
            let (function, file) = cells.get(2)?.split_once("](../")?;
            let (of, function) = function.strip_prefix("[`")?.split_once("::")?;
            Some((
                step,
                of,
                function.strip_suffix('`')?,
                file.strip_suffix(')')?,
            ))
        })
        .collect()
}

/// Whether a source file has an `impl` block of a type with this function.
fn has_method(source: &str, of: &str, function: &str) -> bool {
    let is_block_of = |line: &str| {
        line.strip_prefix("impl").is_some_and(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == of)
        })
    };
    let mut inside = false;
    source.lines().any(|line| {
        if line == "}" {
            inside = false;
        } else if is_block_of(line) {
            inside = true;
        }
        inside && line.contains(&format!("fn {function}("))
    })
}

#[test]
fn the_functions_that_a_probe_passes_are_where_the_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/follow-one-probe.md")).expect("the document");
    let steps = steps(&text);
    let numbers: Vec<usize> = steps.iter().map(|(step, ..)| *step).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    for (step, of, function, file) in steps {
        let source = fs::read_to_string(root.join(file)).expect("a source file");
        assert!(
            has_method(&source, of, function),
            "step {step}: {file} has no function `{function}` of `{of}`"
        );
    }
}

#[test]
fn a_function_is_looked_for_in_the_blocks_of_its_type() {
    let source =
        "impl A {\n    fn x(&self) {}\n}\nimpl fmt::Debug for Bc {\n    fn y(&self) {}\n}\n";
    assert!(has_method(source, "A", "x") && has_method(source, "Bc", "y"));
    assert!(!has_method(source, "A", "y") && !has_method(source, "B", "y"));
    assert!(!has_method(source, "Bc", "x") && !has_method(source, "A", "X"));
}
