//! It serves as it should not: the body says how.

use agora_sdk::serve::{Request, Response};
use agora_sdk::{Amount, Error, http};

/// Answers as the body says.
pub(crate) fn serve(request: &Request) -> Result<Response, Error> {
    let order = String::from_utf8_lossy(&request.body).into_owned();
    let (what, rest) = order.split_once(' ').unwrap_or((&order, ""));
    let amount = rest.parse::<usize>().unwrap_or(0);
    match what {
        "echo" => {
            let Request { id, payer, price_paid, method, path, query, content_type, .. } = request;
            let all = [id, payer, price_paid, method, path, query, content_type].map(String::as_str).join("|");
            Ok(Response::new(200, "text/plain", all))
        }
        "status" => Ok(Response::new(u16::try_from(amount).unwrap_or(u16::MAX), "text/plain", "")),
        "type" => Ok(Response::new(200, &rest.replace('~', "\r\n"), "")),
        "body" => Ok(Response::new(200, "text/plain", vec![b'x'; amount])),
        "fetch" => Ok(Response::new(200, "text/plain", fetch(rest)?)),
        "fail" => Err(Error::new("hostile.failed", "x".repeat(amount))),
        "trap" => crate::trap(),
        "loop" => crate::greed::spin(),
        "wait" => Ok(Response::new(200, "text/plain", crate::greed::wait()?)),
        other => Err(Error::new("hostile.unknown", other)),
    }
}

/// Gets a URL and pays what it must; answers with status, body and what was paid.
pub(crate) fn fetch(url: &str) -> Result<Vec<u8>, Error> {
    let answer = http::Request::get(url).pay_at_most(Amount(1_000)).send()?;
    let paid = answer.paid.map_or_else(|| "nothing".to_owned(), |paid| format!("{} to {}", paid.amount, paid.payee));
    Ok(format!("{} {} {paid}", answer.status, String::from_utf8_lossy(&answer.body)).into_bytes())
}

/// A request whose body, headers or amount are over their bounds.
pub(crate) fn large(what: &str, amount: usize) -> Result<Vec<u8>, Error> {
    let url = "https://api.example.com/";
    let request = match what {
        "fetch-body" => http::Request::post(url, "text/plain", &vec![b'x'; amount]),
        "fetch-headers" => {
            (0..amount).fold(http::Request::get(url), |request, n| request.header(&format!("h{n}"), "v"))
        }
        "fetch-url" => http::Request::get(&format!("{url}{}", "u".repeat(amount))),
        _ => http::Request::get(url).header("x", &"\r".repeat(amount)),
    };
    Ok(request.send()?.status.to_string().into_bytes())
}
