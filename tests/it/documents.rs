//! Links of the documents: every relative one leads to a file that exists, every anchor to a heading.

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
