//! Slurm's lists of names: `node[01-12,20],login` are `node01` to `node12`, `node20` and `login`.

/// The most names that one list stands for.
pub(super) const MOST_NAMES: usize = 200_000;

/// The names that a list stands for.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn expand(list: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for part in split(list)? {
        let part = part.trim();
        if part.is_empty() {
            return Err(format!("`{list}` has an empty name"));
        }
        expand_one(part, String::new(), &mut names)?;
    }
    Ok(names)
}

/// The parts between commas that are in no brackets.
fn split(list: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut start, mut is_inside) = (Vec::new(), 0, false);
    for (at, letter) in list.char_indices() {
        match letter {
            '[' if is_inside => return Err(format!("`{list}` has brackets inside brackets")),
            '[' => is_inside = true,
            ']' if !is_inside => return Err(format!("`{list}` has a `]` without its `[`")),
            ']' => is_inside = false,
            ',' if !is_inside => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if is_inside {
        return Err(format!("`{list}` has a `[` without its `]`"));
    }
    parts.push(&list[start..]);
    Ok(parts)
}

/// Adds the names that begin with `before` and go on as `rest` says.
fn expand_one(rest: &str, before: String, names: &mut Vec<String>) -> Result<(), String> {
    let Some((text, behind)) = rest.split_once('[') else {
        if names.len() >= MOST_NAMES {
            return Err(format!("a list stands for more than {MOST_NAMES} names"));
        }
        names.push(before + rest);
        return Ok(());
    };
    // `split` has seen that each bracket is closed.
    let (ranges, behind) = behind.split_once(']').unwrap_or((behind, ""));
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
            let wrong =
                || format!("`[{ranges}]`: `{range}` is not a number or a range such as 0-15");
            text.parse::<u32>()
                .ok()
                .filter(|_| is_number)
                .ok_or_else(wrong)
        };
        let (from, to) = (number(first)?, number(last)?);
        if from > to {
            return Err(format!(
                "`[{ranges}]`: the range `{range}` ends before it begins"
            ));
        }
        for number in from..=to {
            let width = first.len();
            expand_one(behind, format!("{before}{text}{number:0width$}"), names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_expanded_as_slurm_does() {
        for (list, names) in [
            ("tux", "tux"),
            ("tux[0-2]", "tux0 tux1 tux2"),
            ("tux[08-10,3],login", "tux08 tux09 tux10 tux3 login"),
            ("r[0-1]n[5-6]x", "r0n5x r0n6x r1n5x r1n6x"),
            ("a, b", "a b"),
        ] {
            assert_eq!(expand(list).expect(list).join(" "), names, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_is_named() {
        let lists = [
            "",
            "a,,b",
            "a[",
            "a]",
            "a[[0]]",
            "a[x]",
            "a[0-]",
            "a[3-1]",
            "a[]",
            "a[+1]",
            "a[0-99999]b[0-99999]",
            "a[99999999999]",
        ];
        let errors: Vec<_> = lists.map(|list| expand(list).expect_err(list)).into();
        insta::assert_snapshot!(errors.join("\n"));
    }
}
