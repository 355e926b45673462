use super::*;

fn owner(cgroup: &str, variables: &[(&str, &str)]) -> Owner {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Owner {
        is_kernel: false,
        pid: 7,
        comm: "python".to_owned(),
        cgroup_id: None,
        cgroup: Some(cgroup.into()),
        variables: variables.collect(),
    }
}

fn named(rule: &str, owner: &Owner) -> Option<String> {
    rule.parse::<Rule>().expect("a rule").name(owner)
}

#[test]
fn rules_name_by_cgroup_or_variable() {
    let job = owner(
        "/batch.slice/team-a/job-17.scope/task",
        &[("JOB", "llama/3")],
    );
    for (rule, name) in [
        (
            "cgroup:/batch.slice/*/job-*.scope=batch/{1}/{2}",
            Some("batch/team-a/17"),
        ),
        ("cgroup:job-*.scope=batch/{1}", Some("batch/17")),
        ("cgroup:/job-*.scope=batch/{1}", None),
        ("cgroup:job-*-*=x/{1}", None),
        ("cgroup:/batch.slice=all of batch", Some("all of batch")),
        ("env:JOB=job {1} {{1}", Some("job llama/3 {llama/3")),
        ("env:OTHER=x/{1}", None),
    ] {
        assert_eq!(named(rule, &job).as_deref(), name, "{rule}");
        assert_eq!(rule.parse::<Rule>().expect("a rule").to_string(), rule);
    }
}

#[test]
fn values_that_cannot_stand_in_a_name_are_not_used() {
    let long = "x".repeat(MOST_VALUE + 1);
    for value in ["", "a\nb", "\u{202e}evil", &long] {
        let job = owner("/x", &[("JOB", value)]);
        assert_eq!(named("env:JOB=batch/{1}", &job), None, "{value:?}");
    }
    assert_eq!(named("cgroup:job-*=batch/{1}", &owner("/job-", &[])), None);
    assert_eq!(named("cgroup:a*b=x/{1}", &owner("/ab\u{7}b", &[])), None);
}

#[test]
fn what_is_not_a_rule_is_refused_with_the_reason() {
    let long = format!("env:A={}", "x".repeat(MOST_RULE));
    for text in [
        "",
        "x",
        "env:A",
        "env:=x",
        "env:A B=x",
        "env:A=",
        "env:A={2}",
        "cgroup:=x",
        "cgroup:/=x",
        "cgroup:a=\u{1b}",
        "cgroup:*=x/{2}",
        "cgroup:**=x",
        "cgroup:*a*a*a*a*a*a*a*a*a*=x",
        &long,
    ] {
        let error = text.parse::<Rule>().expect_err(text);
        assert!(
            error.contains("is not a rule") && !error.contains('\u{1b}'),
            "{error}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_a_panic(rule in "\\PC{0,40}", path in "\\PC{0,40}") {
        if let Ok(rule) = format!("cgroup:{rule}=x/{{1}}").parse::<Rule>() {
            let _ = rule.name(&owner(&path, &[]));
        }
        let _ = rule.parse::<Rule>();
    }
}
