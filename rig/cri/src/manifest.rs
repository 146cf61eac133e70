//! # Reading a manifest strictly

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Fails if an object has another key: what nobody reads here would silently not be tested.
pub fn only(object: &Value, what: &str, keys: &[&str]) -> Result<()> {
    let all = object.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let unknown: Vec<_> = all.filter(|key| !keys.contains(key)).collect();
    ensure!(unknown.is_empty(), "{what} has {unknown:?}, which this kubelet does not know");
    Ok(())
}

/// A text that must be there.
pub fn text<'a>(object: &'a Value, key: &str) -> Result<&'a str> {
    object[key].as_str().with_context(|| format!("no {key} in {object}"))
}

/// The elements of a list, which may be missing.
pub fn list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object[key].as_array().into_iter().flatten()
}

/// The texts of a list, which may be missing.
pub fn texts(object: &Value, key: &str) -> Result<Vec<String>> {
    let text = |it: &Value| Ok(it.as_str().with_context(|| format!("{key}: {it}"))?.to_owned());
    list(object, key).map(text).collect()
}

/// Bytes, such as `256Mi`; none if missing.
pub fn bytes(quantity: &Value) -> Result<Option<i64>> {
    let Some(text) = quantity.as_str() else { return Ok(None) };
    let mebibytes: i64 = text.strip_suffix("Mi").context("memory that is not in Mi")?.parse()?;
    Ok(Some(mebibytes << 20))
}

/// Thousandths of a processor, such as `20m` or `2`; none if missing.
pub fn millicores(quantity: &Value) -> Result<Option<i64>> {
    match quantity {
        Value::Null => Ok(None),
        Value::String(text) => match text.strip_suffix('m') {
            Some(number) => Ok(Some(number.parse()?)),
            None => Ok(Some(text.parse::<i64>()? * 1000)),
        },
        Value::Number(number) => Ok(number.as_i64().map(|cores| cores * 1000)),
        _ => bail!("no number of processors: {quantity}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_as_in_kubernetes() {
        assert_eq!(bytes(&json!("256Mi")).unwrap(), Some(256 << 20));
        assert_eq!(bytes(&Value::Null).unwrap(), None);
        assert!(bytes(&json!("1Gi")).is_err(), "better none than a wrong one");
        assert_eq!(millicores(&json!("20m")).unwrap(), Some(20));
        assert_eq!(millicores(&json!(2)).unwrap(), Some(2000));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = only(&json!({"name": "a", "lifecycle": {}}), "a container", &["name"]);
        assert!(error.unwrap_err().to_string().contains("[\"lifecycle\"]"));
    }
}
