//! JSON schemas that every MCP host takes: one flat object, plain types, no combinators.
//!
//! Hosts differ in what they refuse: `$ref` and root `anyOf` make some model APIs answer 400 for every turn, `[T, "null"]` and
//! `format: uint32` break others, and one drops `default`. So none of them is sent; a default is told in the description.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

/// Keywords that are taken out of every schema.
const DROPPED: [&str; 8] = ["$schema", "$defs", "title", "format", "minimum", "maximum", "default", "examples"];

/// Schema of a request as hosts take it. Without the description of the whole: that is the tool's.
pub(crate) fn of_request<T: JsonSchema>() -> Value {
    let mut schema = generated::<T>(SchemaSettings::draft2020_12().for_deserialize());
    simplify(&mut schema);
    if let Value::Object(object) = &mut schema {
        object.remove("description");
        object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    schema
}

/// Schema of a response: for programs and references. It may nest and have alternatives.
pub(crate) fn of_response<T: JsonSchema>() -> Value {
    let mut schema = generated::<T>(SchemaSettings::draft2020_12().for_serialize());
    if let Value::Object(object) = &mut schema {
        object.remove("title");
    }
    strip_formats(&mut schema);
    schema
}

/// Description of a type: its doc comment.
pub(crate) fn description_of<T: JsonSchema>() -> String {
    let schema = generated::<T>(SchemaSettings::draft2020_12().for_deserialize());
    schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn generated<T: JsonSchema>(settings: SchemaSettings) -> Value {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn strip_formats(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("format").is_some_and(Value::is_string) && object.contains_key("type") {
                object.remove("format");
            }
            object.values_mut().for_each(strip_formats);
        }
        Value::Array(array) => array.iter_mut().for_each(strip_formats),
        _ => {}
    }
}

/// Makes a schema plain, at every depth. Names of properties are names, not keywords.
fn simplify(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    tell_default(object);
    for keyword in DROPPED {
        object.remove(keyword);
    }
    let nullable = Value::String("null".to_owned());
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|kind| *kind != nullable);
        if let [one] = types.as_slice() {
            let one = one.clone();
            object.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(alternatives)) = object.get_mut("anyOf") {
        alternatives.retain(|alternative| alternative.get("type") != Some(&nullable));
        if let [Value::Object(one)] = alternatives.as_slice() {
            let one = one.clone();
            object.remove("anyOf");
            for (keyword, value) in one {
                object.entry(keyword).or_insert(value);
            }
        }
    }
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(simplify);
    }
    if let Some(items) = object.get_mut("items") {
        simplify(items);
        // What an item is, the property's own description says.
        if let Value::Object(items) = items {
            items.remove("description");
        }
    }
}

/// `Processors` becomes `Processors (default 1)`. Nothing is said of empty defaults: absent means absent.
fn tell_default(object: &mut Map<String, Value>) {
    let shown = match object.get("default") {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(Value::Number(number)) if number.as_u64() != Some(0) => number.to_string(),
        Some(Value::Bool(true)) => "true".to_owned(),
        _ => return,
    };
    if let Some(Value::String(description)) = object.get_mut("description") {
        description.push_str(&format!(" (default {shown})"));
    }
}
