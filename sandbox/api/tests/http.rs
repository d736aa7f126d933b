//! Where an agent's requests go: a table of what people write to get elsewhere, and what becomes of it.

use std::net::IpAddr;

use agora_sandbox_api::{HttpGrant, HttpRequest, Manifest, Target};
use agora_types::{Amount, Code};

fn grant(hosts: &[&str]) -> HttpGrant {
    let hosts = hosts.iter().map(|host| format!("{host:?}")).collect::<Vec<_>>().join(", ");
    let text = format!("name = \"a\"\ncomponent = \"a.wasm\"\n[grants.http]\nhosts = [{hosts}]\n");
    Manifest::parse(&text).unwrap_or_else(|error| panic!("{error}")).grants.http.expect("granted")
}

fn get(url: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        max_spend: Amount::ZERO,
    }
}

/// What is sent, or why not.
fn sent(hosts: &[&str], url: &str) -> Result<String, Code> {
    grant(hosts).target(&get(url)).map(|target| target.url()).map_err(|error| error.code)
}

#[test]
fn a_granted_host_is_reached_in_every_plain_spelling_and_written_in_one() {
    for (host, url, written) in [
        ("api.example.com", "https://api.example.com", "https://api.example.com/"),
        ("api.example.com", "https://api.example.com:443/v1?q=1", "https://api.example.com/v1?q=1"),
        ("api.example.com", "HTTPS://API.Example.COM/V1", "https://api.example.com/V1"),
        ("API.example.com", "https://api.example.com?q=/@:", "https://api.example.com/?q=/@:"),
        ("api.example.com:8443", "https://api.example.com:8443/", "https://api.example.com:8443/"),
        ("api.example.com", "https://api.example.com/a@b:c/%2e%2e//x", "https://api.example.com/a@b:c/%2e%2e//x"),
        ("*.example.com", "https://a.b.example.com/", "https://a.b.example.com/"),
        ("*.example.com:8443", "https://a.example.com:8443/", "https://a.example.com:8443/"),
        ("xn--bcher-kva.example", "https://XN--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("127.0.0.1:8402", "http://127.0.0.1:8402/a", "http://127.0.0.1:8402/a"),
        ("127.0.0.1", "http://127.0.0.1:80/", "http://127.0.0.1/"),
        ("127.0.0.1", "https://127.0.0.1/", "https://127.0.0.1/"),
        ("localhost:8402", "http://LOCALHOST:8402/", "http://localhost:8402/"),
        ("[::1]:8402", "http://[0:0:0:0:0:0:0:1]:8402/", "http://[::1]:8402/"),
        ("[2001:DB8::1]", "https://[2001:db8:0::1]/", "https://[2001:db8::1]/"),
        ("203.0.113.7", "https://203.0.113.7/", "https://203.0.113.7/"),
    ] {
        assert_eq!(sent(&[host], url).as_deref(), Ok(written), "{host} {url}");
    }
}

/// Everything that somebody may want to reach from behind this node, and a public name.
const HOSTS: [&str; 5] = ["api.example.com", "*.shop.example.com", "127.0.0.1:8402", "[::1]:8402", "localhost:8402"];

#[test]
fn another_host_or_port_than_the_granted_ones_is_denied() {
    for url in [
        "https://example.com/",
        "https://xapi.example.com/",
        "https://api.example.com.evil.com/",
        "https://evil.com/api.example.com",
        "https://evil.com?api.example.com",
        "https://shop.example.com/",
        "https://evilshop.example.com/",
        "https://xn--pi-0lb.example.com/",
        "https://api.example.com:80/",
        "https://api.example.com:8402/",
        "https://127.0.0.1/",
        "http://127.0.0.1/",
        "http://127.0.0.1:8403/",
        "http://127.0.0.2:8402/",
        "http://localhost/",
        "https://127.0.0.1:8403/",
        "https://[::ffff:127.0.0.1]:8402/",
        "https://[::7f00:1]:8402/",
        "https://[64:ff9b::7f00:1]:8402/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.0.0.1/",
        "https://0.0.0.0:8402/",
        "https://metadata.google.internal/",
        "https://127.0.0.1.nip.io:8402/",
    ] {
        assert_eq!(sent(&HOSTS, url), Err(Code::AgentDenied), "{url}");
    }
}

#[test]
fn a_url_that_readers_understand_differently_is_no_url() {
    for url in [
        // A user before the host, plain or hidden.
        "https://api.example.com@evil.com/",
        "https://user:password@api.example.com/",
        "https://@api.example.com/",
        "https://api.example.com:443@evil.com/",
        "https://evil.com\\@api.example.com/",
        "https://api.example.com\\.evil.com/",
        "https://evil.com#@api.example.com/",
        "https://api.example.com/#fragment",
        // Characters that some strip and others keep.
        "https://api.example.com%2eevil.com/",
        "https://api%2Eexample.com/",
        "https://api.example.com\t.evil.com/",
        "https://api.example.com\r\nhost: evil.com/",
        " https://api.example.com/",
        "https://api.example.com /",
        "https://api.example.com/a b",
        "https://api.example.com\0/",
        "https://ａpi.example.com/",
        "https://api。example.com/",
        "https://bücher.example/",
        "https://api.example.com/\u{202e}",
        // Dots, labels and lengths.
        "https://api.example.com./",
        "https://.api.example.com/",
        "https://api..example.com/",
        "https://-api.example.com/",
        "https://api_.example.com/",
        "https://*.shop.example.com/",
        "https:///",
        "https://",
        "https:api.example.com",
        "//api.example.com/",
        "api.example.com",
        "",
        // Ports.
        "https://api.example.com:/",
        "https://api.example.com:0/",
        "https://api.example.com:00443/",
        "https://api.example.com:+443/",
        "https://api.example.com:65536/",
        "https://api.example.com:99999999999999999999/",
        "https://api.example.com:443:443/",
        "https://api.example.com:443a/",
        "http://127.0.0.1:8402:80/",
        // Addresses in octal, hexadecimal, one number, or with parts left out.
        "http://0177.0.0.1:8402/",
        "http://0x7f.0.0.1:8402/",
        "http://0x7f000001:8402/",
        "http://2130706433:8402/",
        "http://017700000001:8402/",
        "http://127.1:8402/",
        "http://127.0.0.1.:8402/",
        "http://127.0.0.01:8402/",
        "http://127.0.0.256:8402/",
        "http://127.0.0.1.1:8402/",
        "http://127.0.0.0x1:8402/",
        "http://a.1:8402/",
        // IPv6 in forms that name something else, or nothing.
        "http://::1:8402/",
        "http://[::1:8402/",
        "http://[::1]8402/",
        "http://[::1]x:8402/",
        "http://[::1%25lo]:8402/",
        "http://[::1%lo]:8402/",
        "http://[127.0.0.1]:8402/",
        "http://[]:8402/",
        "http://[::1]]:8402/",
        // Schemes, and plain HTTP to another machine.
        "ftp://api.example.com/",
        "file:///etc/passwd",
        "javascript://api.example.com/",
        "httpss://api.example.com/",
        "http://api.example.com/",
        "http://api.example.com:443/",
        "http://[::ffff:127.0.0.1]:8402/",
        "http://0.0.0.0:8402/",
        "http://localhost.evil.com:8402/",
    ] {
        assert_eq!(sent(&HOSTS, url), Err(Code::AgentBadRequest), "{url}");
    }
    let long = format!("https://api.example.com/{}", "a".repeat(2_048));
    assert_eq!(sent(&HOSTS, &long), Err(Code::AgentBadRequest));
    let label = format!("https://{}.shop.example.com/", "a".repeat(64));
    assert_eq!(sent(&HOSTS, &label), Err(Code::AgentBadRequest));
}

#[test]
fn a_grant_that_would_grant_too_much_or_nothing_is_refused() {
    for host in [
        "",
        "*",
        "*.",
        "*.com",
        "*.*.example.com",
        "a.*.example.com",
        "*example.com",
        "**.example.com",
        "*.127.0.0.1",
        "https://api.example.com",
        "api.example.com/",
        "api.example.com:",
        "api.example.com:0",
        "api.example.com.",
        "user@api.example.com",
        "127.1",
        "0x7f000001",
        "2130706433",
        "::1",
        "[::1%lo]",
        "bücher.example",
        "a b",
    ] {
        let text = format!("name = \"a\"\ncomponent = \"a.wasm\"\n[grants.http]\nhosts = [{host:?}]\n");
        let error = Manifest::parse(&text).expect_err(host);
        assert!(error.code == Code::AgentBadManifest && error.what.contains("grants.http.hosts"), "{host}: {error}");
    }
}

#[test]
fn a_name_leads_to_the_open_internet_and_an_address_to_itself() {
    let reaches = |url: &str, address: &str| {
        let target = Target::parse(url).expect(url);
        target.may_reach(address.parse::<IpAddr>().expect(address))
    };
    for public in ["93.184.215.14", "1.1.1.1", "172.32.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1"] {
        assert!(reaches("https://api.example.com/", public), "{public}");
        assert!(!reaches("http://localhost:8402/", public), "{public}");
    }
    for own in [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "192.0.0.8",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:93.184.215.14",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001::1",
        "2001:db8::1",
    ] {
        assert!(!reaches("https://api.example.com/", own), "{own}");
    }
    assert!(reaches("http://localhost:8402/", "127.0.0.1") && reaches("http://localhost:8402/", "::1"));
    assert!(reaches("https://10.0.0.1/", "10.0.0.1") && !reaches("https://10.0.0.1/", "10.0.0.2"));
    assert!(reaches("http://[::1]/", "::1") && !reaches("http://[::1]/", "127.0.0.1"));
}

#[test]
fn methods_headers_and_bodies_have_bounds_and_what_the_node_says_is_not_the_guests_to_say() {
    let grant = grant(&["api.example.com"]);
    let code = |change: &dyn Fn(&mut HttpRequest)| {
        let mut request = get("https://api.example.com/");
        change(&mut request);
        grant.target(&request).err().map(|error| error.code)
    };
    let header = |name: &str, value: &str| {
        let header = (name.to_owned(), value.to_owned());
        code(&|request| request.headers = vec![header.clone()])
    };
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(code(&|request| request.method = method.to_owned()), None, "{method}");
    }
    for method in ["CONNECT", "TRACE", "OPTIONS", "get", "", "GET / HTTP/1.1\r\n"] {
        assert_eq!(code(&|request| request.method = method.to_owned()), Some(Code::AgentBadRequest), "{method}");
    }
    assert_eq!(header("authorization", "Bearer abc"), None);
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "connection",
        "proxy-authorization",
        "PAYMENT-SIGNATURE",
        "x-payment",
        "upgrade",
        "te",
        "",
        "a b",
        "a:",
        "a\r\nb",
        "ä",
    ] {
        assert_eq!(header(name, "v"), Some(Code::AgentBadRequest), "{name}");
    }
    for value in ["a\r\nhost: evil.com", "a\0", "ä", "\u{7f}"] {
        assert_eq!(header("x", value), Some(Code::AgentBadRequest), "{value:?}");
    }
    let many = |count: usize, size: usize| {
        code(&|request| request.headers = vec![("x".to_owned(), "v".repeat(size - 1)); count])
    };
    assert_eq!((many(64, 256), many(65, 2), many(1, 16_384)), (None, Some(Code::AgentTooLarge), None));
    assert_eq!(many(1, 16_385), Some(Code::AgentTooLarge));
    assert_eq!(code(&|request| request.body = vec![0; 65_536]), None);
    assert_eq!(code(&|request| request.body = vec![0; 65_537]), Some(Code::AgentTooLarge));
}
