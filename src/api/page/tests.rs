//! The page's headers and names, with and without built files.
#![allow(clippy::unwrap_used)]

use http_body_util::BodyExt;

use super::*;

const SMALL: Bundle = Bundle {
    index: Some("<!doctype html>x"),
    why_not: "",
    files: &[File { name: "main-ABC.js", kind: "text/javascript", bytes: b"1" }],
};
const NOTHING: Bundle = Bundle { index: None, why_not: "npm is missing <here>", files: &[] };

async fn read(response: Response) -> (StatusCode, String, String) {
    let (head, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (head.status, format!("{:?}", head.headers), text)
}

#[tokio::test]
async fn the_page_is_asked_for_each_time_and_its_files_once() {
    let (status, head, body) = read(SMALL.page()).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "<!doctype html>x"));
    assert!(head.contains("no-cache") && head.contains("text/html"), "{head}");
    let (status, head, body) = read(SMALL.file("main-ABC.js")).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "1"));
    assert!(head.contains("immutable") && head.contains("text/javascript"), "{head}");
    for name in ["main.js", "", "../main-ABC.js"] {
        let (status, head, _) = read(SMALL.file(name)).await;
        assert!(status == StatusCode::NOT_FOUND && !head.contains("immutable"), "{name} {head}");
    }
}

#[tokio::test]
async fn every_answer_forbids_what_the_page_does_not_need() {
    for response in [SMALL.page(), SMALL.file("main-ABC.js"), SMALL.file("x"), NOTHING.page()] {
        let (_, head, _) = read(response).await;
        for word in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "nosniff", "no-referrer"] {
            assert!(head.contains(word), "{word} {head}");
        }
        assert!(!head.contains("unsafe"), "{head}");
    }
}

#[tokio::test]
async fn without_its_files_the_page_says_why_and_how_to_get_them() {
    let (status, _, body) = read(NOTHING.page()).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("npm is missing &lt;here>") && body.contains("TAPEDECK_PAGE=on cargo build"), "{body}");
    assert!(!body.contains("<script") && !body.contains("style="), "{body}");
}

#[test]
fn what_was_built_in_belongs_together_and_asks_nobody_else() {
    let bundle = built::BUNDLE;
    let Some(index) = bundle.index else {
        assert!(!bundle.why_not.is_empty());
        eprintln!("skipped: the page was not built: {}", bundle.why_not);
        return;
    };
    assert!(index.contains("/assets/main-") && !index.contains('%'), "{index}");
    for part in ["src=\"", "href=\""].iter().flat_map(|a| index.split(a).skip(1)) {
        let target = part.split('"').next().unwrap();
        // The licence asks for this one; it is followed by a click alone.
        let named = target == "https://www.tradingview.com/";
        assert!(target.starts_with('/') || target.starts_with('#') || named, "{target}");
    }
    for word in index.split("/assets/").skip(1).map(|w| w.split('"').next().unwrap()) {
        assert!(bundle.files.iter().any(|f| f.name == word), "{word} is not among the files");
    }
    let script = bundle.files.iter().find(|f| f.kind.starts_with("text/javascript")).unwrap();
    let script = std::str::from_utf8(script.bytes).unwrap();
    assert!(script.contains("lightweight-charts") && script.contains("Apache License"), "the licence note is gone");
}
