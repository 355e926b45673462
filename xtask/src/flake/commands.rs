//! The programs that a scenario's steps call are those that its `scenario.toml` asks for: any harness then has them, and not
//! only the one whose guests happen to bring more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::checkout::Checkout;
use super::shell::Script;

const FOLDER: &str = "tests/vm";

/// Commands of the shell itself.
const BUILTINS: &[&str] = &[
    ".", ":", "[", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export",
    "false", "hash", "kill", "local", "printf", "pwd", "read", "return", "set", "shift", "test",
    "trap", "true", "type", "ulimit", "umask", "unset", "wait",
];

/// "The usual utilities" of the contract in tests/vm/README.md: those of POSIX, of util-linux and what it names besides.
const UTILITIES: &[&str] = &[
    "awk", "basename", "cat", "chgrp", "chmod", "chown", "cmp", "comm", "cp", "cut", "date", "dd",
    "df", "diff", "dirname", "dmesg", "du", "env", "expr", "find", "grep", "head", "hostname",
    "id", "ip", "join", "ln", "ls", "mkdir", "mkfifo", "mktemp", "modprobe", "mount", "mv", "nice",
    "nohup", "od", "paste", "ps", "rdma", "readlink", "rm", "rmdir", "sed", "seq", "setsid", "sh",
    "sleep", "sort", "split", "stat", "stty", "sync", "tail", "tee", "timeout", "touch", "tr",
    "tty", "umount", "uname", "uniq", "unshare", "wc", "which", "xargs",
];

/// `lib.sh` takes whichever is there.
const EITHER: &[&str] = &["curl", "wget"];

/// Kernel features that may be missing, and the file that shows them. A step must check before it uses one.
///
/// nixpkgs builds its kernels without SECURITY_LOCKDOWN_LSM (os-specific/linux/kernel/common-config.nix).
const OPTIONAL: &[Optional] = &[Optional {
    what: "lockdown",
    file: "/lockdown",
    asked: "/lsm",
}];

/// A file of the kernel.
struct Optional {
    what: &'static str,
    /// End of its path.
    file: &'static str,
    /// End of the path of the file that shows whether the feature exists.
    asked: &'static str,
}

#[derive(Debug, Deserialize)]
struct Scenario {
    #[serde(default)]
    programs: Vec<String>,
    #[serde(default)]
    binaries: Vec<String>,
    #[serde(default)]
    examples: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
    step: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    run: String,
}

/// Every scenario of the checkout.
pub(crate) fn check(checkout: &Checkout) -> Result<String> {
    let library = checkout.read(&format!("{FOLDER}/lib.sh"))?;
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(checkout.root().join(FOLDER)).context(FOLDER)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let file = format!("{FOLDER}/{name}/scenario.toml");
        if checkout.root().join(&file).is_file() {
            let scenario: Scenario = toml::from_str(&checkout.read(&file)?).context(file)?;
            scenarios.push((name, scenario));
        }
    }
    ensure!(!scenarios.is_empty(), "{FOLDER} has no scenario");
    // What some scenario may ask for is a program wherever it stands, also behind flags that are not understood here.
    let offered: BTreeSet<String> = scenarios
        .iter()
        .flat_map(|(_, scenario)| asked_for(scenario))
        .collect();
    let mut steps = 0;
    for (name, scenario) in &scenarios {
        for step in scenario
            .step
            .iter()
            .map(|step| &step.run)
            .collect::<BTreeSet<_>>()
        {
            check_step(checkout, name, scenario, step, &library, &offered)?;
            steps += 1;
        }
    }
    Ok(format!(
        "{steps} steps of {} scenarios call what their scenario.toml asks for",
        scenarios.len()
    ))
}

fn asked_for(scenario: &Scenario) -> impl Iterator<Item = String> {
    let tests = scenario.tests.iter().map(|name| format!("{name}-tests"));
    [&scenario.programs, &scenario.binaries, &scenario.examples]
        .into_iter()
        .flatten()
        .cloned()
        .chain(tests)
}

fn check_step(
    checkout: &Checkout,
    name: &str,
    scenario: &Scenario,
    step: &str,
    library: &str,
    offered: &BTreeSet<String>,
) -> Result<()> {
    let file = format!("{FOLDER}/{name}/steps/{step}.sh");
    let text = checkout.read(&file)?;
    let mut script = Script::parse(library);
    // Files that the step sources; their commands run with it.
    for line in text.lines() {
        if let Some(sourced) = line
            .strip_prefix(". \"$SCENARIO/")
            .and_then(|rest| rest.strip_suffix('"'))
        {
            script.include(&checkout.read(&format!("{FOLDER}/{name}/{sourced}"))?);
        }
    }
    script.include(&text);
    for optional in OPTIONAL {
        ensure!(
            !text.contains(optional.file) || reads(&script, optional.asked),
            "{file} uses the kernel's {}, which not every kernel has, without reading `…{}`, which says so",
            optional.what,
            optional.asked
        );
    }
    let has: BTreeSet<String> = asked_for(scenario).collect();
    let missing = missing(&script, &has, offered);
    ensure!(
        missing.is_empty(),
        "{file} calls {}, which {FOLDER}/{name}/scenario.toml does not ask for (programs, binaries, examples)",
        missing.into_iter().collect::<Vec<_>>().join(", ")
    );
    Ok(())
}

/// Whether a file is read whose path ends so.
fn reads(script: &Script, end: &str) -> bool {
    script.commands.iter().any(|command| {
        matches!(command.words[0].text.as_str(), "cat" | "grep" | "read")
            && command.words[1..]
                .iter()
                .any(|word| word.text.ends_with(end))
    })
}

/// Names of commands that no source provides.
fn missing(
    script: &Script,
    has: &BTreeSet<String>,
    offered: &BTreeSet<String>,
) -> BTreeSet<String> {
    let known = |name: &str| {
        [BUILTINS, UTILITIES, EITHER]
            .iter()
            .any(|list| list.contains(&name))
            || script.functions.contains_key(name)
            || has.contains(name)
            || name == "$@"
    };
    let mut found = BTreeSet::new();
    for command in &script.commands {
        for name in script.names(command) {
            let name = Path::new(name)
                .file_name()
                .map_or(name.into(), |file| file.to_string_lossy());
            if !known(&name) {
                found.insert(name.into_owned());
            }
        }
        // Of messages and patterns nothing is called.
        let first = command.words[0].text.as_str();
        if !calls_others(script, first) {
            continue;
        }
        for word in &command.words[1..] {
            if offered.contains(&word.text) && !known(&word.text) {
                found.insert(word.text.clone());
            }
        }
    }
    found
}

/// Whether a command may call another one that stands among its arguments.
fn calls_others(script: &Script, name: &str) -> bool {
    script.functions.contains_key(name)
        || ["exec", "ip", "setpriv", "setsid", "sh", "unshare"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_of(text: &str, has: &[&str], offered: &[&str]) -> Vec<String> {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        missing(&Script::parse(text), &set(has), &set(offered))
            .into_iter()
            .collect()
    }

    #[test]
    fn a_program_that_was_not_asked_for_is_named() {
        let start = "start() {\n  shift\n  setsid \"$@\" &\n}\n";
        let httpd = format!("{start}start httpd busybox httpd -f\n");
        assert_eq!(missing_of(&httpd, &[], &[]), ["busybox"]);
        assert!(missing_of(&httpd, &["busybox"], &[]).is_empty());
        assert_eq!(missing_of("grep x | socat - y", &[], &[]), ["socat"]);
        assert_eq!(missing_of("/usr/sbin/tcpdump -w x", &[], &[]), ["tcpdump"]);
    }

    #[test]
    fn a_program_behind_flags_is_found_if_some_scenario_has_it() {
        let line = "setpriv --reuid 1 jq .";
        assert_eq!(missing_of(line, &["setpriv"], &["jq"]), ["jq"]);
        assert!(missing_of("echo jq", &[], &["jq"]).is_empty());
    }
}
