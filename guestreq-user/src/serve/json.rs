//! # JSON answers

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use log::error;
use serde::Serialize;

use crate::json::line;

/// An answer of the API.
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match line(&self.0) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => {
                error!("an answer is no JSON: {error}");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}
