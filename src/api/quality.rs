//! `/v1/quality` and the page `/quality`: how complete and how clean the recording is, per hour or day.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::app::{Shared, blocking};
use super::error::{ApiError, ApiResult};
use super::params::Params;
use lake::Hour;
use model::VenueId;
use ops::clock;
use quality::{By, Quality, Query, page};

/// Longest range of one request, hours: a month.
const HOURS_MAX: i64 = 31 * 24;
/// Nothing but the text and its own style.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

pub(super) fn router() -> Router<Shared> {
    Router::new().route("/v1/quality", get(quality)).route("/quality", get(shown))
}

async fn quality(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let (_, found) = found(&app, &params).await?;
    Ok(axum::Json(found).into_response())
}

async fn shown(app: State<Shared>, params: Params) -> ApiResult<Response> {
    let (query, found) = found(&app, &params).await?;
    let title = format!("Recording from {} to before {}", query.from, query.to);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, page(&title, &found)).into_response())
}

/// What was requested, and the answer; the last 24 hours unless said otherwise.
async fn found(app: &Shared, params: &Params) -> ApiResult<(Query, Vec<Quality>)> {
    let venues = match params.get("venue")? {
        None => Vec::new(),
        Some(word) => vec![word.parse::<VenueId>().map_err(|_| ApiError::value("venue"))?.as_str().to_owned()],
    };
    let hour = |us: i64| Hour::of_ns(u64::try_from(us).unwrap_or(0).saturating_mul(1_000));
    let to = params.time_us("endTime")?.map_or_else(|| Hour::of_ns(clock::wall_ns()).next(), hour);
    let from = params.time_us("startTime")?.map_or(Hour(to.0 - 24), hour);
    if from >= to || to.0 - from.0 > HOURS_MAX {
        return Err(ApiError::new(-1130, "startTime must be before endTime, at most 31 days apart."));
    }
    let by = match params.get("by")? {
        None | Some("day") => By::Day,
        Some("hour") => By::Hour,
        Some(_) => return Err(ApiError::value("by")),
    };
    let query = Query { venues, from, to, by };
    let (lake, report_query) = (app.lake.clone(), query.clone());
    // One request reads, the others wait for its result.
    let _one = app.reports.lock.lock().await;
    let state = Arc::clone(app);
    let found = blocking(app, move || Ok(state.reports.read.report(&lake, &report_query)?)).await?;
    Ok((query, found))
}
