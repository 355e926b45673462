//! Reads one Rust source as words: which modules it declares, what it imports, which paths it names.
//!
//! Comments, strings and items for tests are left out. Nothing is compiled, so that code of every platform is read.

/// A word of the source and the line that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

/// An import: `use path as name`, one of a list or a glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Import {
    /// As written: the first segment may be `crate`, `self`, `super` or a name.
    pub path: Vec<String>,
    /// The name that it has here; `*` for a glob.
    pub name: String,
    /// `pub use`, with any visibility.
    pub re_export: bool,
    pub line: usize,
}

/// A path of at least two segments, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub path: Vec<String>,
    pub line: usize,
}

/// One module's own text: a file, or a `mod name { … }` in it.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Names from the root of the file; empty for the file itself.
    pub inside: Vec<String>,
    /// Children that are declared here, in files of their own or in place.
    pub children: Vec<String>,
    /// Children that only tests have.
    pub test_children: Vec<String>,
    pub imports: Vec<Import>,
    pub named: Vec<Named>,
    /// Names of items that are defined here.
    pub items: Vec<String>,
}

/// Reads a source without what is for tests alone (`#[cfg(test)]`), or with it.
pub(super) fn read(text: &str, with_tests: bool) -> Vec<Module> {
    Reader {
        tokens: tokens(text),
        at: 0,
        with_tests,
        modules: vec![Module::default()],
        open: Vec::new(),
        depth: 0,
    }
    .read()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Splits a source into names, numbers, `::` and single signs.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let end = match chars[at] {
            '/' if matches!(chars.get(at + 1), Some('/' | '*')) => end_of_comment(&chars, at),
            '"' => end_of_string(&chars, at),
            '\'' => end_of_quote(&chars, at),
            c if c.is_alphanumeric() || c == '_' => {
                let end = end_of_word(&chars, at);
                match end_of_raw_string(&chars, at, end) {
                    Some(end) => end,
                    None => {
                        let text = chars[at..end].iter().collect();
                        tokens.push(Token { text, line });
                        end
                    }
                }
            }
            c if c.is_whitespace() => at + 1,
            ':' if chars.get(at + 1) == Some(&':') => {
                let text = "::".to_owned();
                tokens.push(Token { text, line });
                at + 2
            }
            sign => {
                let text = sign.to_string();
                tokens.push(Token { text, line });
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

fn end_of_word(chars: &[char], start: usize) -> usize {
    (start..chars.len())
        .find(|at| !(chars[*at].is_alphanumeric() || chars[*at] == '_'))
        .unwrap_or(chars.len())
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let mut at = start;
    if chars[start + 1] == '/' {
        return (start..chars.len())
            .find(|at| chars[*at] == '\n')
            .unwrap_or(chars.len());
    }
    let mut depth = 0;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 1;
            }
            ('*', '/') => {
                depth -= 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// The end of a character, or of the sign before a lifetime.
fn end_of_quote(chars: &[char], start: usize) -> usize {
    match (chars.get(start + 1), chars.get(start + 2)) {
        (Some('\\'), _) => (start + 3..chars.len())
            .find(|at| chars[*at] == '\'')
            .map_or(chars.len(), |at| at + 1),
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

/// The end of `r"…"`, `br#"…"#` and the like, whose prefix is the word from `start` to `end`.
fn end_of_raw_string(chars: &[char], start: usize, end: usize) -> Option<usize> {
    let prefix: String = chars[start..end].iter().collect();
    if !matches!(&*prefix, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
    if chars.get(end + hashes) != Some(&'"') {
        return None;
    }
    let closes =
        |at: &usize| chars[*at] == '"' && (1..=hashes).all(|n| chars.get(at + n) == Some(&'#'));
    let last = (end + hashes + 1..chars.len()).find(closes)?;
    Some(last + 1 + hashes)
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    with_tests: bool,
    modules: Vec<Module>,
    /// Modules that are open: their index and the depth of braces outside them.
    open: Vec<(usize, usize)>,
    depth: usize,
}

impl Reader {
    fn read(mut self) -> Vec<Module> {
        while self.at < self.tokens.len() {
            self.step();
        }
        self.modules
    }

    fn text(&self, ahead: usize) -> &str {
        self.tokens
            .get(self.at + ahead)
            .map_or("", |token| &token.text)
    }

    fn module(&mut self) -> &mut Module {
        let index = self.open.last().map_or(0, |(index, _)| *index);
        &mut self.modules[index]
    }

    fn step(&mut self) {
        match self.text(0) {
            "#" => self.attribute(),
            "{" => {
                self.depth += 1;
                self.at += 1;
            }
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.at += 1;
                if self
                    .open
                    .last()
                    .is_some_and(|(_, depth)| *depth == self.depth)
                {
                    self.open.pop();
                }
            }
            "mod" if is_name(self.text(1)) => self.declaration(),
            "use" => self.import(),
            "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union"
                if is_name(self.text(1)) =>
            {
                self.item(1);
            }
            "macro_rules" => self.item(2),
            text if is_name(text) => self.path(),
            _ => self.at += 1,
        }
    }

    /// An attribute; what `#[cfg(test)]` belongs to is skipped.
    fn attribute(&mut self) {
        let words = ["#", "[", "cfg", "(", "test", ")", "]"];
        let for_tests = words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.text(ahead) == *word);
        if !for_tests || self.with_tests {
            self.at += 1;
            return;
        }
        self.at += words.len();
        let mut depth = 0_usize;
        let mut words = Vec::new();
        while self.at < self.tokens.len() {
            let text = self.text(0).to_owned();
            self.at += 1;
            match &*text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            let ends = depth == 0 && (text == ";" || text == "}");
            words.push(text);
            if ends {
                break;
            }
        }
        if let Some(at) = words.iter().position(|word| word == "mod") {
            let name = words[at + 1].clone();
            self.module().test_children.push(name);
        }
    }

    fn item(&mut self, ahead: usize) {
        let name = self.text(ahead).to_owned();
        self.module().items.push(name);
        self.at += ahead + 1;
    }

    fn declaration(&mut self) {
        let name = self.text(1).to_owned();
        let in_place = self.text(2) == "{";
        self.at += 2;
        self.module().children.push(name.clone());
        if in_place {
            let mut inside = self.module().inside.clone();
            inside.push(name);
            self.open.push((self.modules.len(), self.depth));
            self.modules.push(Module {
                inside,
                ..Module::default()
            });
        }
    }

    fn import(&mut self) {
        let line = self.tokens[self.at].line;
        let re_export = self.at > 0
            && (self.tokens[self.at - 1].text == "pub" || self.tokens[self.at - 1].text == ")");
        self.at += 1;
        let mut found = Vec::new();
        self.tree(&[], &mut found);
        for (path, name) in found {
            self.module().imports.push(Import {
                path,
                name,
                re_export,
                line,
            });
        }
    }

    /// A tree of imports after `before`.
    fn tree(&mut self, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let mut path = before.to_vec();
        loop {
            match self.text(0) {
                "::" => self.at += 1,
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | "") {
                        self.tree(&path, found);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.at += 1;
                    found.push((path, "*".to_owned()));
                    return;
                }
                "as" => {
                    let name = self.text(1).to_owned();
                    self.at += 2;
                    found.push((path, name));
                    return;
                }
                text if is_name(text) => {
                    let text = text.to_owned();
                    self.at += 1;
                    // `a::{self}` is `a`.
                    if text != "self" || path.is_empty() {
                        path.push(text);
                    }
                }
                _ => {
                    if let Some(name) = path.last().cloned() {
                        found.push((path, name));
                    } else {
                        self.at += 1;
                    }
                    return;
                }
            }
        }
    }

    fn path(&mut self) {
        let line = self.tokens[self.at].line;
        let starts = self.at == 0 || !matches!(&*self.tokens[self.at - 1].text, "." | "::");
        let mut path = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && is_name(self.text(1)) {
            path.push(self.text(1).to_owned());
            self.at += 2;
        }
        if starts && path.len() > 1 {
            self.module().named.push(Named { path, line });
        }
    }
}
