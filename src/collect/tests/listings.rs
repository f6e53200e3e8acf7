//! Listings as they are: with entries that cannot be read, and in a maintenance.

use tokio_tungstenite::tungstenite::Message;

use super::*;

/// Neither a name nor anything else.
const NAMELESS: &str = r#"{"symbol":null,"status":"TRADING"}"#;
/// A name, and a status that is none; the step has more decimals than any price.
const ODD: &str = r#"{"symbol":"BTCODD","status":null,"baseAsset":"BTC","quoteAsset":"ODD","filters":[{"filterType":"PRICE_FILTER","tickSize":"0.00000000000000000001"},{"filterType":null}]}"#;

fn with(entries: &[&str]) -> String {
    LISTING.replace("]}]}", &format!("]}},{}]}}", entries.join(",")))
}

fn listed(server: &Server, listing: impl Into<String>) {
    server.manners.lock().unwrap().listing = listing.into();
}

fn refreshed(v: &mut VenueConfig) {
    v.symbols_refresh_s = 1;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_odd_entry_costs_only_itself_at_the_start_and_on_every_refresh_and_is_reported_once() {
    let server = Server::start(vec![], vec![]).await;
    listed(&server, with(&[NAMELESS, ODD]));
    let running = Running::start_with(&server, TRADES, refreshed, None).await;
    running.until("the sound symbols are recorded", |c| c.frames > 20 && c.rest_ok >= 4).await;
    let another = r#"{"symbol":"BTCNEW","status":"TRADING","baseAsset":7,"quoteAsset":"USDT"}"#;
    listed(&server, with(&[NAMELESS, ODD, another]));
    let seen = server.seen.clone();
    let asked = move || seen.lock().unwrap().requests.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
    running.until("a symbol that is listed later is recorded", |_| asked().contains("btcnew@trade")).await;
    assert!(asked().contains("btcusdt@trade") && asked().contains("btcodd@trade"), "{}", asked());
    assert!(running.metrics.problems().iter().all(|p| !p.contains("listing")), "{:?}", running.metrics.problems());
    let records = running.stop().await;
    let reported = events(&records, "listing_entry_unreadable");
    let names =
        |e: &Value| e["detail"]["entries"].as_array().unwrap().iter().map(|e| e["symbol"].clone()).collect::<Vec<_>>();
    assert_eq!(
        reported.iter().map(names).collect::<Vec<_>>(),
        [vec![Value::Null, "BTCODD".into()], vec!["BTCNEW".into()]]
    );
    assert_eq!(reported[0]["detail"]["entries"][0]["entry"], NAMELESS);
    assert!(reported[0]["detail"]["entries"][1]["why"].as_str().unwrap().contains("status"), "{}", reported[0]);
}

/// Plays a maintenance whose listing is `listing`: nothing leaves, what is dropped comes back.
async fn maintenance(listing: String) {
    let dropped = vec![Act::Frames(10), Act::Wait(Duration::from_secs(3)), Act::Drop];
    let server = Server::start(vec![dropped], vec![]).await;
    let running = Running::start_with(&server, TRADES, refreshed, None).await;
    running.until("it records", |c| c.frames >= 10).await;
    listed(&server, listing);
    let red = || running.metrics.problems().iter().any(|p| p.contains("maintenance"));
    running.until("health is red", |_| red()).await;
    running.until("the connection that was dropped is back", |c| c.connects == 2 && c.frames > 20).await;
    assert!(red(), "nothing trades yet");
    listed(&server, LISTING);
    running.until("health is green again", |_| !red()).await;
    let records = running.stop().await;
    assert_eq!(of(&records, Kind::Gap).len(), 1, "the interruption is recorded");
    assert!(events(&records, "symbol_removed").is_empty());
    let states: Vec<_> = events(&records, "maintenance").iter().map(|e| e["detail"]["state"].clone()).collect();
    assert_eq!(states, ["begins", "ends"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_in_which_nothing_trades_or_is_left_is_no_news_about_a_symbol() {
    let halted = LISTING.replace("TRADING", "BREAK");
    let others = LISTING.replace("BTCUSDT", "ETHUSDT");
    let gone = r#"{"symbols":[]}"#.to_owned();
    tokio::join!(maintenance(halted), maintenance(others), maintenance(gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_in_a_maintenance_asks_for_the_streams_so_that_the_first_trade_counts() {
    let server = Server::start(vec![], vec![]).await;
    listed(&server, LISTING.replace("TRADING", "BREAK"));
    let running = Running::start_with(&server, TRADES, refreshed, None).await;
    running.until("it records what is listed", |c| c.frames > 20).await;
    let red = || running.metrics.problems().iter().any(|p| p.contains("maintenance"));
    assert!(red());
    listed(&server, LISTING);
    running.until("health is green", |_| !red()).await;
    let records = running.stop().await;
    let states: Vec<_> = events(&records, "maintenance").iter().map(|e| e["detail"]["state"].clone()).collect();
    assert_eq!(states, ["begins", "ends"]);
    // What really does not trade leaves when the others do.
    let gone: Vec<_> = events(&records, "symbol_removed").iter().map(|e| e["detail"]["symbol"].clone()).collect();
    assert_eq!(gone, ["OLDUSDT"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_an_empty_listing_asks_again_soon() {
    let server = Server::start(vec![], vec![]).await;
    listed(&server, r#"{"symbols":[]}"#);
    let running = Running::start_with(&server, TRADES, |v| v.symbols_refresh_s = 86_400, None).await;
    running.until("the empty listing came", |c| c.rest_ok >= 1).await;
    listed(&server, LISTING);
    running.until("it records", |c| c.frames > 10).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_symbol_stays_while_an_entry_of_the_listing_has_no_name() {
    let notice = vec![Act::Wait(Duration::from_secs(3)), Act::Send(Message::text(super::life::NOTICE)), Act::Stream];
    let server = Server::start(vec![notice], vec![]).await;
    let both = LISTING.replace(r#""status":"BREAK""#, r#""status":"TRADING""#);
    listed(&server, both.clone());
    let extra = "channels = [\"trades\"]\nconnects_per_5_min = 50\n";
    let running = Running::start_with(&server, extra, refreshed, None).await;
    running.until("both are recorded", |c| c.rest_ok >= 1 && c.connects == 1).await;
    // OLDUSDT trades on; the entry of BTCUSDT cannot be read.
    listed(&server, both.replace(r#""symbol":"BTCUSDT""#, r#""symbol":null"#));
    let seen = server.seen.clone();
    let again = || seen.lock().unwrap().requests.get(1).is_some_and(|r| !r.is_empty());
    running.until("the replacement is subscribed", |_| again()).await;
    assert!(seen.lock().unwrap().requests[1][0].contains("btcusdt@trade"));
    let records = running.stop().await;
    assert!(events(&records, "symbol_removed").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorded_symbol_that_listings_lack_is_subscribed_by_the_next_connection_while_it_delivers() {
    let streamed = vec![[Act::Frames(4), Act::Wait(Duration::from_millis(100))]; 45];
    let mut script: Vec<Act> = streamed.into_iter().flatten().collect();
    script.extend([Act::Send(Message::text(super::life::NOTICE)), Act::Stream]);
    let server = Server::start(vec![script], vec![]).await;
    let both = LISTING.replace(r#""status":"BREAK""#, r#""status":"TRADING""#);
    listed(&server, both.clone());
    let extra = "channels = [\"trades\"]\nconnects_per_5_min = 50\n";
    let running = Running::start_with(&server, extra, refreshed, None).await;
    running.until("both are recorded", |c| c.rest_ok >= 1 && c.connects == 1).await;
    let (half, _) = both.split_once(r#",{"symbol":"OLDUSDT""#).unwrap();
    listed(&server, format!("{half}]}}"));
    let seen = server.seen.clone();
    let again = || seen.lock().unwrap().requests.get(1).is_some_and(|r| !r.is_empty());
    running.until("the replacement is subscribed", |_| again()).await;
    assert!(seen.lock().unwrap().requests[1][0].contains("oldusdt@trade"));
    let records = running.stop().await;
    assert!(events(&records, "symbol_removed").is_empty());
}
