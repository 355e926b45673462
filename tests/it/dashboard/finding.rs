//! Search, filters, orders, and the pages of links, RNICs and hosts.

use super::{Answer, browse, filled, links};
use crate::analyzer::harness::{Incarnation, batch, clock, report, trace, upload};

/// Where a search leads: the address for one thing, else nothing.
fn elsewhere(answer: &Answer) -> Option<&str> {
    if answer.status == 303 {
        return answer.header("location");
    }
    assert_eq!(answer.status, 200, "{}", answer.body);
    None
}

#[test]
fn a_search_leads_to_the_one_thing_that_is_meant_or_to_a_list() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        filled(&analyzer).await;
        let web = analyzer.web();
        for (text, page) in [
            ("10.0.0.2", "/rnic/host2/rxe0"),
            ("%3A%3Affff%3A10.0.0.2", "/rnic/host2/rxe0"),
            ("host1%2Frxe0", "/rnic/host1/rxe0"),
            ("HOST1%2FRXE0", "/rnic/host1/rxe0"),
            ("host1", "/host/host1"),
            ("++host1++", "/host/host1"),
            ("tor0", "/fabric?node=tor0"),
            ("tor2", "/tor/tor2/tor2"),
            (
                "%3Cb%3Eserve",
                "/services/train%20%26%20%3Cb%3Eserve%3C%2Fb%3E",
            ),
        ] {
            let answer = browse(web, &format!("/search?q={text}"), "").await;
            assert_eq!(elsewhere(&answer), Some(page), "{text}: {}", answer.body);
            assert_eq!(browse(web, page, "").await.status, 200, "{page}");
        }
        let answer = browse(web, "/search?q=host", "").await;
        assert_eq!(elsewhere(&answer), None);
        let found = links(&answer.body);
        for page in ["/host/host1", "/rnic/host1/rxe0", "/host/host2"] {
            assert!(found.contains(page), "{page} of {found:?}");
        }
        for empty in ["/search", "/search?q=", "/search?q=+"] {
            let page = browse(web, empty, "").await;
            assert_eq!(
                (
                    page.status,
                    page.body.contains("A part of a name is enough")
                ),
                (200, true),
                "{empty}"
            );
        }
    });
}

#[test]
fn hostile_searches_and_filters_stay_text() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        filled(&analyzer).await;
        let web = analyzer.web();
        for text in [
            "%3Cscript%3Ealert(1)%3C%2Fscript%3Enone",
            "%22%3E%3Cimg+src%3Dx+onerror%3Dalert(2)%3Enone",
            "'%3B+DROP+TABLE+incident%3B--",
            "..%2F..%2Fetc%2Fpasswd",
            "%00%0d%0aLocation%3A+nowhere",
            "%F0%9F%92%A5%E2%80%AE",
            "%25s%25n",
        ] {
            let answer = browse(web, &format!("/search?q={text}"), "").await;
            assert_eq!(elsewhere(&answer), None, "{text}");
            assert!(
                !answer.body.contains("<script>alert") && !answer.body.contains("<img src=x"),
                "{}",
                answer.body
            );
            let answer = browse(web, &format!("/agents?filter={text}"), "").await;
            assert!(
                matches!(answer.status, 200 | 400),
                "{text}: {}",
                answer.body
            );
            assert!(
                !answer.body.contains("<script>alert") && !answer.body.contains("<img src=x"),
                "{}",
                answer.body
            );
        }
        let long = "x".repeat(129);
        let many = "a+".repeat(17);
        for path in [
            format!("/search?q={long}"),
            "/search?q=a&q=b".to_owned(),
            "/search?x=a".to_owned(),
            format!("/agents?filter={many}"),
            format!("/services?filter={}", "x".repeat(513)),
            "/agents?filter=colour%3Dred".to_owned(),
            "/agents?sort=colour".to_owned(),
            "/incidents?sort=colour".to_owned(),
            "/incidents?at=1700000000&filter=a".to_owned(),
            "/tor/tor0/tor1?filter=loss%3Emuch".to_owned(),
            "/path/10.0.0.1/10.0.0.3?sort=beauty".to_owned(),
            "/link/tor0/tor1?window=9h".to_owned(),
            "/rnic/host1/rxe0?x=1".to_owned(),
            "/host/host1?at=soon".to_owned(),
        ] {
            let answer = browse(web, &path, "").await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.body);
            assert!(
                answer.body.contains("<h1>This address is malformed</h1>"),
                "{path}"
            );
        }
        for path in [
            "/link/tor0/nowhere",
            "/link/a%00/b",
            "/rnic/host1/none",
            "/rnic/none/rxe0",
            "/host/none",
        ] {
            assert_eq!(browse(web, path, "").await.status, 404, "{path}");
        }
    });
}

#[test]
fn tables_are_filtered_and_sorted_by_links_that_keep_everything_else() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let paths = vec![report(1, 2, 10, 1), report(1, 3, 10, 5)];
        upload(&analyzer, 7, vec![batch(1, 24, paths)]).await;
        let web = analyzer.web();
        let page = browse(web, "/tor/tor0/tor1?window=120s", "").await.body;
        let heads = links(&page);
        let link = "/tor/tor0/tor1?window=120s&sort=-loss";
        assert!(heads.contains(link), "the largest first: {heads:?}");
        let sent = |page: &str| {
            page.split("data-label=\"Lost\">")
                .skip(1)
                .filter_map(|rest| rest.split('<').next().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(&page), ["50 %", "10 %"], "the worst first");
        let page = browse(web, "/tor/tor0/tor1?window=120s&sort=loss", "")
            .await
            .body;
        assert_eq!(sent(&page), ["10 %", "50 %"]);
        assert!(page.contains("aria-sort=\"ascending\""), "{page}");
        let page = browse(
            web,
            "/tor/tor0/tor1?window=120s&sort=-loss&filter=loss%3C%3D10%25",
            "",
        )
        .await
        .body;
        assert_eq!(sent(&page), ["10 %"]);
        assert!(
            links(&page).contains("/tor/tor0/tor1?window=120s"),
            "a link shows all again"
        );
        assert!(
            page.contains("value=\"loss&#60;=10%\""),
            "the filter stands in its field: {page}"
        );
        let page = browse(web, "/tor/tor0/tor1?window=120s&filter=10.0.0.3", "")
            .await
            .body;
        assert_eq!(sent(&page), ["50 %"], "by GID");
        let page = browse(web, "/tor/tor0/tor1?sort=-loss&filter=10.0.0.3", "").await;
        assert!(
            page.body
                .contains("/tor/tor0/tor1?window=120s&#38;filter=10.0.0.3&#38;sort=-loss"),
            "another window keeps filter and order: {}",
            page.body
        );
        let page = browse(web, "/agents?filter=nobody", "").await.body;
        assert!(page.contains("No agent passes the filter."), "{page}");
        let page = browse(web, "/incidents?filter=severity%3DP0&sort=-lasts", "")
            .await
            .body;
        assert!(page.contains("None passes the filter."), "{page}");
    });
}

#[test]
fn a_link_shows_the_paths_that_cross_it_and_an_rnic_its_own() {
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), clock(30));
    analyzer.run(async {
        let mut first = batch(1, 24, vec![report(1, 3, 100, 7), report(1, 5, 50, 0)]);
        first.traces = vec![
            trace(1, 3, 20, "tor0 spine4 tor1"),
            trace(1, 5, 20, "tor0 spine9 tor2"),
            trace(3, 1, 20, "tor1 spine4 tor0"),
        ];
        upload(&analyzer, 7, vec![first]).await;
        let web = analyzer.web();
        let page = browse(web, "/link/tor0/spine4?window=120s", "").await.body;
        assert!(
            page.contains("7 of 100 probes of paths that cross it"),
            "{page}"
        );
        assert!(
            page.contains("1 of probes, 0 of ACKs"),
            "no ACKs come this way: {page}"
        );
        assert!(
            page.contains("/path/%3A%3Affff%3A10.0.0.1/")
                || page.contains("/path/10.0.0.1/10.0.0.3"),
            "{page}"
        );
        assert!(
            !page.contains("10.0.0.5"),
            "that path goes elsewhere: {page}"
        );
        assert!(
            links(&page).contains("/link/spine4/tor0"),
            "the other direction"
        );
        let page = browse(web, "/link/spine4/tor0?window=120s", "").await.body;
        assert!(page.contains("0 of probes, 1 of ACKs"), "{page}");
        // The cable of an RNIC needs no trace.
        let page = browse(web, "/link/tor2/host5%2Frxe0?window=120s", "")
            .await
            .body;
        assert!(
            page.contains("0 of 50 probes of paths that cross it"),
            "{page}"
        );
        let page = browse(web, "/rnic/host1/rxe0?window=120s", "").await.body;
        assert!(page.contains("7 of 150 probes that it sent"), "{page}");
        let page = browse(web, "/rnic/host3/rxe0?window=120s", "").await.body;
        assert!(page.contains("7 of 100 probes to it"), "{page}");
        let page = browse(web, "/host/host1?window=120s", "").await.body;
        assert!(links(&page).contains("/rnic/host1/rxe0"), "{page}");
        // From a path to its links.
        let page = browse(web, "/path/10.0.0.1/10.0.0.3?window=120s", "")
            .await
            .body;
        assert!(links(&page).contains("/link/tor0/spine4"), "{page}");
        assert!(links(&page).contains("/rnic/host1/rxe0"), "{page}");
    });
}
