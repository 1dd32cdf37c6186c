//! `/openapi.json` and `/api-docs`, its browsable page; the page's assets are in the binary.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::middleware::map_response;
use axum::response::Response;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::headers::complete;

/// As strict as the page's own code allows: it sets styles inline and draws with data URLs.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'",
);

/// The routes of the API's own description.
pub fn api_docs(openapi: OpenApi) -> Router {
    let config = Config::new(["/openapi.json"])
        .try_it_out_enabled(true)
        // It would send the description's address to a service elsewhere.
        .validator_url("none");
    let page = SwaggerUi::new("/api-docs")
        .config(config)
        .url("/openapi.json", openapi);
    let with_policy = async |mut response: Response| {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, POLICY);
        complete(response).await
    };
    Router::new().merge(page).layer(map_response(with_policy))
}
