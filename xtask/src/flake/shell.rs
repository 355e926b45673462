//! The commands of a POSIX shell script, as far as they can be read without running it.
//!
//! It knows quoting, comments, substitutions, here-documents, `case`, functions and redirections. What a command is called
//! only at run time (`"$ip" link`) has no name here.

use std::collections::BTreeMap;

/// A word without its quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its characters; those of substitutions are left as they are written.
    pub(crate) text: String,
    /// Whether the shell replaces something in it.
    pub(crate) dynamic: bool,
    quoted: bool,
    /// Whether it is `NAME=…`.
    assigns: bool,
    /// Texts of command substitutions in it.
    inner: Vec<String>,
}

/// A simple command: its words without assignments in front and without redirections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    /// Name and arguments.
    pub(crate) words: Vec<Word>,
    /// The function whose body it is in.
    pub(crate) function: Option<String>,
}

/// What a script consists of.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Those of substitutions come before the command that they are in, those of `sh -c '…'` after it.
    pub(crate) commands: Vec<Command>,
    /// Functions, with how many of their arguments come before a command that they call; `None` where they call none.
    pub(crate) functions: BTreeMap<String, Option<usize>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    /// `;`, `&`, `|`, a line's end and combinations of them.
    Next,
    Open,
    Close,
    /// `;;`
    EndOfCase,
    /// The next word is a file, or the end of a here-document.
    Redirect,
}

const KEYWORDS: &[&str] = &[
    "!", "do", "done", "elif", "else", "esac", "fi", "if", "then", "until", "while", "{", "}",
];

impl Script {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut script = Self::default();
        script.read(text, None);
        script.find_wrappers();
        script
    }

    /// Adds what another script defines and runs.
    pub(crate) fn include(&mut self, text: &str) {
        self.read(text, None);
        self.find_wrappers();
    }

    fn read(&mut self, text: &str, function: Option<&str>) {
        let (tokens, inner) = Lexer::new(text).run();
        let mut reader = Reader {
            script: self,
            outer: function.map(str::to_owned),
            bodies: Vec::new(),
            braces: 0,
            words: Vec::new(),
            pattern: false,
        };
        reader.tokens(&tokens);
        // Of here-documents.
        for text in inner {
            self.read(&text, function);
        }
    }

    fn add(&mut self, words: Vec<Word>, function: Option<&str>) {
        // `sh -c 'script'`, wherever in the words.
        let nested: Vec<String> = words
            .windows(3)
            .filter(|three| three[0].text == "sh" && three[1].text == "-c" && three[2].quoted)
            .map(|three| three[2].text.clone())
            .collect();
        self.commands.push(Command {
            words,
            function: function.map(str::to_owned),
        });
        for text in nested {
            self.read(&text, function);
        }
    }

    /// A function that runs its arguments: `"$@"` is where a command stands, after so many calls of `shift`.
    fn find_wrappers(&mut self) {
        let names: Vec<String> = self.functions.keys().cloned().collect();
        for name in names {
            let own = |command: &&Command| command.function.as_deref() == Some(&name);
            let calls = self
                .commands
                .iter()
                .filter(own)
                .any(|command| self.names(command).contains(&"$@"));
            let shifts = self
                .commands
                .iter()
                .filter(own)
                .filter(|command| command.words[0].text == "shift")
                .map(|command| {
                    command
                        .words
                        .get(1)
                        .map_or(Ok(1), |n| n.text.parse())
                        .unwrap_or(0)
                })
                .sum();
            self.functions.insert(name, calls.then_some(shifts));
        }
    }

    /// The names at the places of `command` where a command stands: its own, and those that it calls in turn.
    pub(crate) fn names<'a>(&self, command: &'a Command) -> Vec<&'a str> {
        let mut names = Vec::new();
        let mut at = 0;
        while let Some(word) = command.words.get(at) {
            let is_arguments = word.text == "$@";
            if (word.dynamic && !is_arguments) || word.text.starts_with('-') {
                break;
            }
            names.push(word.text.as_str());
            let skipped = match word.text.as_str() {
                "exec" | "setsid" | "env" => Some(0),
                "timeout" => Some(1),
                "ip" if is_netns_exec(&command.words[at..]) => Some(3),
                name => self.functions.get(name).copied().flatten(),
            };
            match skipped {
                Some(skipped) => at += 1 + skipped,
                None => break,
            }
            while command.words.get(at).is_some_and(|word| word.assigns) {
                at += 1;
            }
        }
        names
    }
}

fn is_netns_exec(words: &[Word]) -> bool {
    let texts = words.iter().map(|word| word.text.as_str());
    texts.take(3).eq(["ip", "netns", "exec"])
}

/// Puts tokens together to commands.
struct Reader<'a> {
    script: &'a mut Script,
    outer: Option<String>,
    /// Functions whose bodies are open, with the depth of their braces.
    bodies: Vec<(String, usize)>,
    braces: usize,
    words: Vec<Word>,
    /// Between `case … in` or `;;` and the `)` of a pattern.
    pattern: bool,
}

impl Reader<'_> {
    fn tokens(&mut self, tokens: &[Token]) {
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                Token::Word(word) => self.word(word),
                Token::Redirect => at += 1,
                Token::Open if self.is_function(tokens, at) => {
                    if let Some(name) = self.words.pop() {
                        self.script.functions.entry(name.text.clone()).or_default();
                        self.bodies.push((name.text, self.braces));
                    }
                    at += 1;
                }
                Token::Close if self.pattern => {
                    self.pattern = false;
                    self.words.clear();
                }
                Token::EndOfCase => {
                    self.end();
                    self.pattern = true;
                }
                Token::Next | Token::Open | Token::Close => self.end(),
            }
            at += 1;
        }
        self.end();
    }

    fn is_function(&self, tokens: &[Token], at: usize) -> bool {
        self.words.len() == 1 && tokens.get(at + 1) == Some(&Token::Close)
    }

    fn word(&mut self, word: &Word) {
        let function = self.function();
        for text in &word.inner {
            self.script.read(text, function.as_deref());
        }
        let first = self.words.is_empty();
        if self.pattern {
            if word.text == "esac" {
                self.pattern = false;
            }
            return;
        }
        if first && !word.quoted && KEYWORDS.contains(&word.text.as_str()) {
            match word.text.as_str() {
                "{" => self.braces += 1,
                "}" => {
                    self.braces = self.braces.saturating_sub(1);
                    self.bodies.retain(|(_, depth)| *depth < self.braces);
                }
                _ => {}
            }
            return;
        }
        if first && word.assigns {
            return;
        }
        self.words.push(word.clone());
        let texts: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        if matches!(texts[..], ["case", _, "in"]) {
            self.words.clear();
            self.pattern = true;
        }
    }

    fn end(&mut self) {
        let words = std::mem::take(&mut self.words);
        // `for NAME in WORDS` runs nothing itself.
        if words.first().is_none_or(|word| word.text == "for") || self.pattern {
            return;
        }
        let function = self.function();
        self.script.add(words, function.as_deref());
    }

    /// The function whose body is open.
    fn function(&self) -> Option<String> {
        let innermost = self.bodies.last().map(|(name, _)| name.clone());
        innermost.or_else(|| self.outer.clone())
    }
}

/// Cuts a text into tokens, and collects the texts of command substitutions in here-documents.
struct Lexer {
    characters: Vec<char>,
    at: usize,
    tokens: Vec<Token>,
    inner: Vec<String>,
    word: Option<Word>,
    /// Ends of here-documents whose text begins with the next line.
    documents: Vec<String>,
}

impl Lexer {
    fn new(text: &str) -> Self {
        Self {
            characters: text.replace("\\\n", " ").chars().collect(),
            at: 0,
            tokens: Vec::new(),
            inner: Vec::new(),
            word: None,
            documents: Vec::new(),
        }
    }

    fn run(mut self) -> (Vec<Token>, Vec<String>) {
        while let Some(c) = self.next() {
            match c {
                '\'' => {
                    let text = self.until('\'');
                    self.quoted().text.push_str(&text);
                }
                '"' => self.double_quotes(),
                '\\' => {
                    let escaped = self.next();
                    self.quoted().text.extend(escaped);
                }
                '$' | '`' => self.expansion(c),
                '#' if self.word.is_none() => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                ' ' | '\t' => self.finish(),
                '\n' => {
                    self.finish();
                    self.skip_documents();
                    self.tokens.push(Token::Next);
                }
                ';' | '&' | '|' => self.operator(c),
                '(' | ')' => {
                    self.finish();
                    self.tokens
                        .push(if c == '(' { Token::Open } else { Token::Close });
                }
                '<' | '>' => self.redirection(c),
                other => self.unquoted(other),
            }
        }
        self.finish();
        (self.tokens, self.inner)
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn finish(&mut self) {
        self.tokens.extend(self.word.take().map(Token::Word));
    }

    fn unquoted(&mut self, c: char) {
        let word = self.word.get_or_insert_default();
        let is_name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if c == '=' && !word.quoted && !word.text.is_empty() && is_name(&word.text) {
            word.assigns = true;
        }
        word.text.push(c);
    }

    fn quoted(&mut self) -> &mut Word {
        let word = self.word.get_or_insert_default();
        word.quoted = true;
        word
    }

    fn until(&mut self, end: char) -> String {
        let mut text = String::new();
        while let Some(c) = self.next().filter(|c| *c != end) {
            text.push(c);
        }
        text
    }

    fn double_quotes(&mut self) {
        self.quoted();
        while let Some(c) = self.next().filter(|c| *c != '"') {
            match c {
                '\\' => {
                    let escaped = self.next();
                    self.quoted().text.extend(escaped);
                }
                '$' | '`' => self.expansion(c),
                other => self.quoted().text.push(other),
            }
        }
    }

    /// `$NAME`, `${…}`, `$(…)`, `$((…))`, backquotes.
    fn expansion(&mut self, c: char) {
        let begin = self.at - 1;
        if c == '`' {
            let text = self.until('`');
            self.word.get_or_insert_default().inner.push(text);
        } else if self.peek() == Some('(') {
            let text = self.balanced('(', ')');
            if !text.starts_with('(') {
                self.word.get_or_insert_default().inner.push(text);
            }
        } else if self.peek() == Some('{') {
            self.balanced('{', '}');
        } else {
            let special = self.peek().is_some_and(|c| "@*#?-$!".contains(c));
            self.at += usize::from(special);
            while !special
                && self
                    .peek()
                    .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
            {
                self.at += 1;
            }
        }
        let text: String = self.characters[begin..self.at].iter().collect();
        let word = self.word.get_or_insert_default();
        word.text.push_str(&text);
        word.dynamic = true;
    }

    /// What is between `open`, which is next, and its `close`; quotes hide both.
    fn balanced(&mut self, open: char, close: char) -> String {
        let mut depth = 0;
        let mut quote = None;
        let begin = self.at + 1;
        while let Some(c) = self.next() {
            match (quote, c) {
                (None, '\'' | '"') => quote = Some(c),
                (Some(q), _) if q == c => quote = None,
                (Some('\''), _) => {}
                (_, '\\') => self.at += 1,
                (None, _) if c == open => depth += 1,
                (None, _) if c == close => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        let end = self.at.saturating_sub(1).min(self.characters.len());
        self.characters[begin.min(end)..end].iter().collect()
    }

    fn operator(&mut self, c: char) {
        self.finish();
        let twice = self.peek() == Some(c);
        self.at += usize::from(twice);
        self.tokens.push(if c == ';' && twice {
            Token::EndOfCase
        } else {
            Token::Next
        });
    }

    /// `>`, `>>`, `<`, `>&2`, `<<END`; a number in front belongs to it.
    fn redirection(&mut self, c: char) {
        if self
            .word
            .as_ref()
            .is_some_and(|word| word.text.chars().all(|c| c.is_ascii_digit()))
        {
            self.word = None;
        }
        self.finish();
        if self.peek() == Some(c) {
            self.at += 1;
            if c == '<' {
                while self.peek() == Some(' ') {
                    self.at += 1;
                }
                let begin = self.at;
                while self.peek().is_some_and(|c| !c.is_whitespace()) {
                    self.at += 1;
                }
                let end: String = self.characters[begin..self.at].iter().collect();
                self.documents
                    .push(end.trim_matches(['\'', '"']).to_owned());
                return;
            }
        }
        if self.peek() == Some('&') {
            self.at += 1;
        }
        while self.peek() == Some(' ') {
            self.at += 1;
        }
        self.tokens.push(Token::Redirect);
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.documents) {
            let mut text = String::new();
            while self.peek().is_some() {
                let line = self.until('\n');
                if line == end {
                    break;
                }
                text.push_str(&line);
                text.push('\n');
            }
            // Substitutions in it are run.
            let (tokens, _) = Self::new(&text).run();
            for token in tokens {
                if let Token::Word(word) = token {
                    self.inner.extend(word.inner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
