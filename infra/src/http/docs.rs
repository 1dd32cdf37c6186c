//! `/openapi.json` and `/api-docs`, its browsable page; the page's assets are in the binary.

use axum::Router;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// The routes of the API's own description.
pub fn api_docs(openapi: OpenApi) -> Router {
    let page = SwaggerUi::new("/api-docs")
        .config(Config::new(["/openapi.json"]).try_it_out_enabled(true))
        .url("/openapi.json", openapi);
    Router::new().merge(page)
}
