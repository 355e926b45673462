use super::*;

/// The names of all commands, in order.
fn names(text: &str) -> Vec<String> {
    let script = Script::parse(text);
    script
        .commands
        .iter()
        .flat_map(|command| script.names(command))
        .map(str::to_owned)
        .collect()
}

#[test]
fn commands_of_lists_pipes_and_substitutions() {
    assert_eq!(names("a b; c && d || ! e | f &"), ["a", "c", "d", "e", "f"]);
    assert_eq!(names("X=\"a b\" c; 'X=1' d"), ["c", "X=1"]);
    assert_eq!(names("X=1 Y=$(cat f) a \"$(b 'c)')\""), ["cat", "b", "a"]);
    assert_eq!(names("x=$((1 + 2)) # d e\n`g h` i"), ["g"]);
    assert_eq!(names("a 'b; c' \"d | e\" f\\;g"), ["a"]);
    assert_eq!(names("a \\\n  b\nc"), ["a", "c"]);
}

#[test]
fn redirections_are_no_commands() {
    assert_eq!(
        names("a 2>/dev/null >>f <g 2>&1; exec 4>/tmp/x"),
        ["a", "exec"]
    );
    assert_eq!(
        names("read -r x <<EOF\n$(counters)\nls\nEOF\nb"),
        ["read", "b", "counters"]
    );
}

#[test]
fn keywords_loops_and_cases() {
    let text = "for n in a b; do c; done\nif d; then e; else f; fi\nwhile g; do h; done\n\
                case $X in\n  i | j) k l ;;\n  *) m ;;\nesac\nn";
    assert_eq!(names(text), ["c", "d", "e", "f", "g", "h", "k", "m", "n"]);
}

#[test]
fn a_function_that_runs_its_arguments_is_seen_through() {
    let text = "start() {\n  name=$1\n  shift\n  setsid \"$@\" &\n}\n\
                flows() {\n  \"$@\" agent >f || return 1\n}\n\
                service() {\n  name=$1\n  shift\n  start x sh -c 'echo $$ && exec \"$@\"' \"$@\"\n}\n\
                says() {\n  shift 2\n  \"$@\" >x\n}\n\
                plain() {\n  agent \"$@\"\n}\n";
    let script = Script::parse(text);
    assert_eq!(script.functions["start"], Some(1));
    assert_eq!(script.functions["flows"], Some(0));
    assert_eq!(script.functions["service"], Some(1));
    assert_eq!(script.functions["plain"], None);
    let of = |line: &str| {
        let mut all = Script::parse(text);
        let before = all.commands.len();
        all.include(line);
        all.names(&all.commands[before]).join(" ")
    };
    assert_eq!(of("start httpd busybox httpd -f"), "start busybox");
    assert_eq!(of("flows start a b c"), "flows start b");
    assert_eq!(of("start a ip netns exec host1 c d"), "start ip c");
    assert_eq!(of("start a env X=1 c d"), "start env c");
    assert_eq!(of("start a \"$ip\" netns"), "start");
    assert_eq!(of("says 1 'a b' agent ping"), "says agent");
    assert_eq!(of("plain a b"), "plain");
}

#[test]
fn a_script_within_a_script_is_read() {
    assert_eq!(names("start x sh -c 'a \"$Y\" && b'"), ["start", "a", "b"]);
    assert_eq!(
        names("unshare -m sh -c 'mount x && exec \"$@\"' y"),
        ["unshare", "mount", "exec", "$@"]
    );
}
