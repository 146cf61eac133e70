//! # JSON responses

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use log::error;
use serde::Serialize;

use crate::json::line;

/// A response with a JSON body.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match line(&self.0) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => {
                error!("cannot serialize a response: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
