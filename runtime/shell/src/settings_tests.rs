//! Which place wins, and what a wrong value is answered with.

use super::*;

const NONE: fn(&str) -> Option<String> = |_| None;

fn file(name: &str, text: &str) -> Option<(PathBuf, Overlay)> {
    Some((PathBuf::from(name), Overlay::parse(text).unwrap()))
}

#[test]
fn flags_beat_variables_beat_the_project_beat_the_user_beat_the_defaults() {
    let user = || file("/u/config.toml", "port = 1\nthreads = 1\nlog = 'warn'\nnetwork = 'user'");
    let project = || file("/p/agora.toml", "port = 2\nthreads = 2\nlog = 'debug'");
    let variable = |name: &str| match name {
        "AGORA_PORT" => Some("3".to_owned()),
        "AGORA_THREADS" => Some("3".to_owned()),
        _ => None,
    };
    let flags = Overlay { port: Some(4), ..Overlay::default() };
    let settings = Settings::merge(user(), project(), variable, flags).unwrap();
    assert_eq!(settings.port, Sourced { value: 4, source: Source::Flag });
    assert_eq!(settings.threads.source, Source::Variable("AGORA_THREADS".to_owned()));
    assert_eq!(settings.threads.value.count(), 3);
    assert_eq!(settings.log, Sourced { value: LogLevel::Debug, source: Source::File("/p/agora.toml".into()) });
    assert_eq!(settings.network.source, Source::File("/u/config.toml".into()));
    assert_eq!(settings.bind, Sourced { value: IpAddr::V4(Ipv4Addr::LOCALHOST), source: Source::Default });
}

#[test]
fn the_defaults_are_a_dev_network_on_the_loopback_address() {
    let settings = Settings::merge(None, None, NONE, Overlay::default()).unwrap();
    assert_eq!(settings, Settings::defaults());
    assert_eq!((settings.network.value.as_str(), settings.port.value), ("dev", 7_402));
    assert!(settings.bind.value.is_loopback());
}

#[test]
fn a_device_is_the_processor_or_has_a_number() {
    for (text, device) in [
        ("cpu", DeviceChoice::Cpu),
        ("cuda", DeviceChoice::Cuda(0)),
        ("cuda:0", DeviceChoice::Cuda(0)),
        ("cuda:12", DeviceChoice::Cuda(12)),
    ] {
        assert_eq!(text.parse::<DeviceChoice>().unwrap(), device, "{text}");
        assert_eq!(device.to_string().parse::<DeviceChoice>().unwrap(), device, "{device}");
    }
    for wrong in ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda:x", "cuda:70000", "cuda: 1"] {
        assert_eq!(wrong.parse::<DeviceChoice>().unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn a_wrong_line_is_named_with_its_key() {
    for (text, line, part) in [
        ("port = 1\nprot = 2\n", 2, "prot"),
        ("\n\nport = 70000", 3, "port"),
        ("port = '7402'", 1, "port"),
        ("network = 'Dev'", 1, "network"),
        ("threads = 0", 1, "threads"),
        ("device = 'gpu'", 1, "device"),
        ("device = 0", 1, "device"),
        ("log = 'loud'", 1, "log"),
        ("bind = 'localhost'", 1, "bind"),
        ("max_spend = 1.5", 1, "max_spend"),
        ("max_spend = '1e3'", 1, "max_spend"),
        ("passphrase = 'hunter2'", 1, "passphrase"),
        ("port = 1\nport = 2", 2, "port"),
        ("port = ", 1, "port"),
    ] {
        let (at, what) = Overlay::parse(text).expect_err(text);
        assert_eq!(at, line, "{text}: {what}");
        assert!(what.contains(part), "{text}: {what}");
        assert!(!what.contains("hunter2") && !what.contains('\n'), "{text}: {what}");
    }
}

#[test]
fn a_wrong_file_is_named_and_a_missing_one_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    assert_eq!(Overlay::read(&path).unwrap(), None);
    fs::write(&path, "port = 1\nport = 2").unwrap();
    let failure = Overlay::read(&path).unwrap_err();
    assert_eq!((failure.code, failure.exit_code()), (Code::NodeConfig, 2));
    assert!(failure.what.starts_with(&format!("{}:2: ", path.display())), "{failure}");
    fs::write(&path, [b'#'; FILE_MAX + 1]).unwrap();
    assert_eq!(Overlay::read(&path).unwrap_err().code, Code::NodeConfig);
    fs::write(&path, [0xff]).unwrap();
    assert_eq!(Overlay::read(&path).unwrap_err().code, Code::NodeConfig);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, code) in [
        ("AGORA_PORT", "x", Code::NodeConfig),
        ("AGORA_BIND", "x", Code::NodeConfig),
        ("AGORA_NETWORK", "X", Code::NodeConfig),
        ("AGORA_DEVICE", "x", Code::NodeConfig),
        ("AGORA_LOG", "x", Code::NodeConfig),
        ("AGORA_MAX_SPEND", "1e3", Code::AmountNotDecimal),
    ] {
        let variable = |asked: &str| (asked == name).then(|| value.to_owned());
        let failure = Settings::merge(None, None, variable, Overlay::default()).unwrap_err();
        assert_eq!((failure.code, failure.exit_code()), (code, 2));
        assert!(failure.what.starts_with(name), "{failure}");
    }
}

#[test]
fn a_project_lowers_the_spending_limit_and_never_raises_it() {
    let limit = |user: Option<_>, project| {
        let settings = Settings::merge(user, file("/p/agora.toml", project), NONE, Overlay::default()).unwrap();
        settings.max_spend.value.to_string()
    };
    assert_eq!(limit(None, "max_spend = '0.5'"), "0.5");
    assert_eq!(limit(None, "max_spend = '1000'"), "1");
    assert_eq!(limit(file("/u/config.toml", "max_spend = '20'"), "max_spend = '10'"), "10");
    assert_eq!(limit(file("/u/config.toml", "max_spend = '0.1'"), "max_spend = '10'"), "0.1");
}

#[test]
fn a_project_does_not_say_where_secrets_are() {
    let project = file("/p/agora.toml", "passphrase = 'path:/tmp/x'");
    let failure = Settings::merge(None, project, NONE, Overlay::default()).unwrap_err();
    assert!(failure.what.contains("/p/agora.toml"), "{failure}");
}

#[test]
fn a_relative_model_path_is_meant_from_its_file() {
    let model = |text: &str| {
        let settings = Settings::merge(file("/u/config.toml", text), None, NONE, Overlay::default()).unwrap();
        settings.model.value.to_string()
    };
    assert_eq!(model("model = 'm/a.gguf'"), "/u/m/a.gguf");
    assert_eq!(model("model = '/m/a.gguf'"), "/m/a.gguf");
    assert_eq!(model("model = 'smollm2-135m'"), "smollm2-135m");
}

#[test]
fn the_list_of_settings_names_sources() {
    let flags = Overlay { port: Some(0), ..Overlay::default() };
    let settings = Settings::merge(None, None, NONE, flags).unwrap();
    let mut text = Vec::new();
    settings.document().text(&mut text, &Style::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let line = text.lines().find(|line| line.starts_with("port")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["port", "0", "flag"]);
}
