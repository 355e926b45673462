//! The dashboard in a real browser (profile `browser`): Chromium without a window, against running labs and analyzers.
//! Pictures are kept in target/screenshots; with `RPINGMESH_DOC_IMAGES=1` those in docs/images are made anew.

mod accessible;
mod driver;
mod lab;

use std::sync::Arc;
use std::time::Duration;

use rpingmesh::rpc::v1;
use rpingmesh::time::{Clock as _, SystemClock};

use crate::analyzer::harness::{Incarnation, upload};
use driver::{Browser, key};
use lab::Lab;

/// Cells of the matrix whose row and column name ToRs.
const BAD_CELL: &str = "[...document.querySelectorAll('table.grid td:is(.l3,.l4,.l5) a')]\
    .some(a => a.getAttribute('aria-label').includes('→ tor3:'))";

async fn assert_quiet(browser: &Browser) {
    let console = browser.console().await;
    assert!(console.is_empty(), "{console:#?}");
}

/// The first stop leads past the navigation; then into the grid, two cells down and one to the right, open.
async fn follow_by_keyboard(browser: &Browser) {
    browser.press(&[key::TAB]).await;
    browser
        .wait_for("document.activeElement.classList.contains('skip')")
        .await;
    browser.press(&[key::ENTER]).await;
    browser
        .wait_for("document.activeElement.id === 'main'")
        .await;

    browser
        .value("document.querySelector('.scroll').focus()")
        .await;
    browser
        .press(&[key::TAB, key::DOWN, key::DOWN, key::RIGHT])
        .await;
    let readout = browser
        .value("document.querySelector('#readout').textContent")
        .await;
    assert!(
        readout.as_str().expect("text").starts_with("tor2 → tor1: "),
        "{readout}"
    );
    browser.press(&[key::END]).await;
    browser.press(&[key::ENTER]).await;
    browser
        .wait_for("location.pathname === '/tor/tor2/tor7' && document.querySelector('table.list')")
        .await;
}

/// A minute earlier, and from there to other pages, which stay at that time.
async fn follow_into_the_past(browser: &Browser, lab: &Lab) {
    browser.open(&lab.url("/incidents")).await;
    browser.click("p.asof a[href*='at=']").await;
    browser
        .wait_for(
            "document.querySelector('.past') && document.documentElement.dataset.live === 'no'",
        )
        .await;
    let at = browser
        .value("new URLSearchParams(location.search).get('at')")
        .await;
    browser.click("header nav a[href^='/fabric']").await;
    browser
        .wait_for("location.pathname === '/fabric' && document.querySelector('.past')")
        .await;
    let then = browser
        .value("new URLSearchParams(location.search).get('at')")
        .await;
    assert_eq!((at.is_string(), &at), (true, &then));
    browser.picture("fabric-past").await;
    browser.click(".past li:last-child a").await;
    browser
        .wait_for("location.pathname === '/fabric' && location.search === '' && !document.querySelector('.past')")
        .await;
}

/// The search box leads to the one host that is meant; a head sorts its table and a filter leaves rows out, in the address.
async fn find_and_sort(browser: &Browser, lab: &Lab) {
    let find = |text: &str| {
        format!(
            "(() => {{ const form = document.querySelector('form.find'); form.q.value = '{text}'; form.requestSubmit(); }})()"
        )
    };
    browser.open(&lab.url("/")).await;
    browser.value(&find("host1")).await;
    browser
        .wait_for(
            "location.pathname === '/host/host1' && document.querySelector('table.list tbody a')",
        )
        .await;
    browser.value(&find("host")).await;
    browser
        .wait_for(
            "location.pathname === '/search' && document.querySelectorAll('main li a').length > 8",
        )
        .await;
    browser.picture("search").await;
    browser.open(&lab.url("/agents")).await;
    browser.click("table.list thead th:nth-child(1) a").await;
    browser
        .wait_for("document.querySelector('th[aria-sort=ascending]') && location.search === '?sort=agent'")
        .await;
    browser
        .value("(() => { const form = document.querySelector('form.filter'); form.filter.value = 'host=host3'; form.requestSubmit(); })()")
        .await;
    browser
        .wait_for("document.querySelectorAll('table.list tbody tr').length === 1 && location.search.includes('sort=agent')")
        .await;
    browser.picture("filtered").await;
}

/// A chart has lines once a minute is over, and a click on a part of it zooms into it.
async fn see_a_trend(browser: &Browser, lab: &Lab) {
    let drawn = async {
        loop {
            browser.open(&lab.url("/trend/tor/tor0/tor3?last=1h")).await;
            let has_line = browser
                .value("document.querySelector('svg.chart path.p99') !== null")
                .await;
            if has_line == true {
                break;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), drawn)
        .await
        .expect("a minute is over");
    browser.picture("trend").await;
    browser
        .value("document.querySelector('svg.chart a:last-of-type').dispatchEvent(new MouseEvent('click', { bubbles: true, cancelable: true }))")
        .await;
    browser
        .wait_for("new URLSearchParams(location.search).has('from')")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium and its driver: cargo xtask test --only browser"]
async fn an_injected_fault_is_seen_and_followed() {
    let lab = Lab::start().await;
    let browser = Browser::start().await;
    browser.open(&lab.url("/")).await;
    // From here on the page keeps itself up to date: nothing is loaded anew by hand.
    browser
        .wait_for("document.querySelector('#connection').dataset.state === 'live'")
        .await;
    browser.wait_for(BAD_CELL).await;
    browser
        .wait_for("[...document.querySelectorAll('.incidents li.open b')].some(b => b.textContent.includes('link spine1->tor3'))")
        .await;
    browser
        .wait_for("document.querySelectorAll('table.grid tbody td').length === 64")
        .await;
    browser.picture("overview").await;

    follow_by_keyboard(&browser).await;

    // By pointer: the bad cell, the pair of RNICs that loses most, its paths.
    browser.open(&lab.url("/?window=120s")).await;
    browser.wait_for(BAD_CELL).await;
    browser
        .click("table.grid td:is(.l3,.l4,.l5) a[aria-label*='→ tor3:']")
        .await;
    browser.wait_for("/^\\/tor\\/tor\\d\\/tor3$/.test(location.pathname) && document.querySelector('table.list .bad')").await;
    browser.picture("pair").await;
    browser.click("table.list tbody tr:first-child th a").await;
    browser
        .wait_for("location.pathname.startsWith('/path/')")
        .await;
    browser
        .wait_for("[...document.querySelectorAll('tr:has(.bad) ol.hops li')].some(a => a.textContent === 'spine1')")
        .await;
    browser.picture("path").await;

    browser.click("a[href='/incidents']").await;
    browser
        .wait_for("document.querySelector('.incidents li.open')")
        .await;
    // A busy machine may bring incidents of its own.
    browser
        .value("[...document.querySelectorAll('.incidents li.open a')].find(a => a.textContent.includes('link spine1->tor3')).click()")
        .await;
    browser
        .wait_for("document.querySelectorAll('.evidence li').length > 0")
        .await;
    let title = browser
        .value("document.querySelector('h1').textContent")
        .await;
    assert!(
        title.as_str().expect("text").contains("link spine1->tor3"),
        "{title}"
    );
    browser.picture("incident").await;

    browser.click("a[href^='/fabric?node=']").await;
    browser
        .wait_for("document.querySelector('svg line.suspect')")
        .await;
    browser.picture("fabric").await;
    browser.open(&lab.url("/services/train.service")).await;
    browser
        .wait_for("document.querySelectorAll('table.list tbody tr').length >= 3")
        .await;
    browser.picture("service").await;
    browser.open(&lab.url("/agents")).await;
    browser
        .wait_for("document.querySelectorAll('table.list tbody tr').length === 16")
        .await;
    browser.picture("agents").await;

    find_and_sort(&browser, &lab).await;
    follow_into_the_past(&browser, &lab).await;
    see_a_trend(&browser, &lab).await;
    assert_quiet(&browser).await;
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium and its driver: cargo xtask test --only browser"]
async fn pages_fit_phones_and_dark_rooms() {
    let lab = Lab::start().await;
    let browser = Browser::start().await;
    browser.dark(true).await;
    browser.open(&lab.url("/")).await;
    browser.wait_for(BAD_CELL).await;
    let lightness = |name: &str| {
        format!(
            "getComputedStyle(document.body).{name}.match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b)"
        )
    };
    let back = browser
        .value(&lightness("backgroundColor"))
        .await
        .as_u64()
        .expect("a colour");
    let text = browser
        .value(&lightness("color"))
        .await
        .as_u64()
        .expect("a colour");
    assert!(back < 150 && text > 500, "{back} {text}");
    browser
        .wait_for("document.querySelector('.incidents li.open')")
        .await;
    browser.picture("overview-dark").await;
    browser.dark(false).await;
    browser.screen(390, 844, true).await;
    for path in [
        "/",
        "/fabric",
        "/incidents",
        "/services",
        "/services/train.service",
        "/agents",
        "/tor/tor0/tor3",
        "/search?q=tor",
        "/link/spine1/tor3",
        "/host/host0",
        "/trend/tor/tor0/tor3",
        "/incidents/1",
        "/?at=1700000000",
        "/fabric?at=1700000000",
    ] {
        browser.open(&lab.url(path)).await;
        browser
            .wait_for("document.documentElement.dataset.ready === 'yes'")
            .await;
        let wide = browser
            .value("document.documentElement.scrollWidth - innerWidth")
            .await;
        assert_eq!(wide, 0, "{path} is wider than the screen");
        // An entry of the navigation stays in one line, its badge too.
        let lines = "[...document.querySelectorAll('header nav li a')].map(a => a.getBoundingClientRect().height)";
        let heights = browser.value(lines).await;
        let heights: Vec<_> = heights
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(serde_json::Value::as_f64)
            .collect();
        assert_eq!(heights.len(), 5);
        assert!(
            heights.iter().all(|height| *height < 60.0),
            "{path}: {heights:?}"
        );
        // What is touched is large enough, but for links in running text.
        let small = "[...document.querySelectorAll('header nav a, .choices a, button, .button')]\
            .filter(a => a.getBoundingClientRect().height < 24).map(a => a.textContent)";
        assert_eq!(browser.value(small).await, serde_json::json!([]), "{path}");
        let name = path.trim_start_matches('/').replace(['/', '?', '='], "-");
        browser
            .picture(&format!(
                "phone-{}",
                if name.is_empty() { "overview" } else { &name }
            ))
            .await;
    }
    assert_quiet(&browser).await;
    lab.end().await;
}

#[test]
#[ignore = "needs Chromium and its driver: cargo xtask test --only browser"]
fn pages_come_back_after_a_restart() {
    let folder = tempfile::tempdir().expect("folder");
    let clock = || Arc::new(SystemClock);
    let analyzer = Incarnation::start(folder.path(), clock());
    let web = analyzer.web();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let browser = runtime.block_on(Browser::start());
    runtime.block_on(async {
        browser.open(&format!("http://{web}/agents")).await;
        browser
            .wait_for("document.querySelector('#connection').dataset.state === 'live'")
            .await;
        browser.value("window.stays = true").await;
    });
    analyzer.kill();
    runtime.block_on(async {
        browser
            .wait_for("document.querySelector('#connection').dataset.state === 'down'")
            .await;
        browser.picture("disconnected").await;
    });
    let _analyzer = Incarnation::start_on(folder.path(), clock(), web);
    runtime.block_on(async {
        browser
            .wait_for("document.querySelector('#connection').dataset.state === 'live'")
            .await;
        // Without being loaded anew: what the page held is still there.
        assert_eq!(browser.value("window.stays === true").await, true);
        let errors = browser.console().await;
        let unexpected: Vec<_> = errors
            .iter()
            // The browser itself notes that the server was away.
            .filter(|line| !line.contains("net::ERR_"))
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    });
}

/// Figures for reading, none is compared: on a busy machine they say little.
#[test]
#[ignore = "needs Chromium and its driver: cargo xtask test --only browser"]
fn a_fabric_of_256_tors_is_drawn_and_zoomed_into() {
    const TORS: u16 = 256;
    let folder = tempfile::tempdir().expect("folder");
    let analyzer = Incarnation::start(folder.path(), Arc::new(SystemClock));
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    // Long enough ago for the newest slot that has settled, not for the windows to have moved on.
    let end = SystemClock.wall().nanos() - 10_000_000_000;
    let batches = (0..TORS).map(|source| {
        let lost = |target| if (source, target) == (7, 201) { 3 } else { 0 };
        let paths = (0..TORS)
            .filter(|target| *target != source)
            .map(|target| between(source, target, lost(target)));
        v1::ResultBatch {
            sequence: u64::from(source) + 1,
            start_unix_ns: end - 1_000_000_000,
            end_unix_ns: end,
            paths: paths.collect(),
            ..v1::ResultBatch::default()
        }
    });
    let (acknowledged, error) = analyzer.run(upload(&analyzer, 7, batches.collect()));
    assert_eq!((acknowledged, error), (u64::from(TORS), None));
    runtime.block_on(async {
        let browser = Browser::start().await;
        let url = format!("http://{}/?window=120s", analyzer.web());
        browser.open(&url).await;
        browser.wait_for("document.querySelector('table.grid td:is(.l3,.l4,.l5)')").await;
        // The page and its assets; what ticks bring later comes by `fetch`.
        let weight = "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))\
            .filter(one => !one.name.endsWith('/events') && one.initiatorType != 'fetch').reduce((sum, one) => sum + one.decodedBodySize, 0)";
        let weight = browser.value(weight).await.as_f64().expect("bytes");
        assert!(weight < 500_000.0, "{weight} bytes");
        // The second visit finds the matrix collected, as every viewer but the first does.
        let mut lines = vec![format!("page and assets: {weight} bytes")];
        for visit in 1..=3 {
            browser.open(&url).await;
            browser.wait_for("performance.getEntriesByName('first-contentful-paint').length > 0").await;
            let paint = browser.value("performance.getEntriesByName('first-contentful-paint')[0].startTime").await;
            lines.push(format!("visit {visit}: first paint after {paint} ms"));
            browser.wait_for("document.documentElement.dataset.took").await;
            let took = browser.value("document.documentElement.dataset.took").await;
            lines.push(format!("visit {visit}: update after a tick took {took} ms"));
        }
        browser.picture("large").await;
        println!("{}", lines.join("\n"));
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/target/screenshots/figures.txt");
        std::fs::write(file, lines.join("\n")).expect("a file");
        let bad = browser.value("document.querySelectorAll('table.grid td:is(.l1,.l2,.l3,.l4,.l5)').length").await;
        assert_eq!(bad, 1, "one pair among 65 280 is bad");
        browser.click("table.grid td:is(.l3,.l4,.l5) a").await;
        browser.wait_for("document.querySelector('table.grid td:is(.l3,.l4,.l5) a')?.getAttribute('aria-label').startsWith('tor7 → tor201: 30 % lost')").await;
        assert_quiet(&browser).await;
    });
}

fn between(source: u16, target: u16, lost: usize) -> v1::PathReport {
    let peer = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut gid = vec![0; 10];
        gid.extend([0xff, 0xff, 10, 0, high, low]);
        v1::Peer {
            gid: gid.into(),
            qpn: 17,
            // An agent is believed about its own host only, and one uploads everything.
            host: "host1".to_owned(),
            tor: format!("tor{number}"),
            device: "rxe0".to_owned(),
        }
    };
    let spans = vec![12_000 + i64::from(target); 10 - lost];
    v1::PathReport {
        source: Some(peer(source)),
        target: Some(peer(target)),
        kind: v1::ProbeKind::InterTor.into(),
        source_port: 50_000,
        sent: 10,
        lost: lost as u64,
        network_rtt_ns: spans.clone(),
        prober_delay_ns: spans.clone(),
        responder_delay_ns: spans,
        clock: v1::CompletionClock::Software.into(),
        ..Default::default()
    }
}
