from metricwatch.resources import SecretName, Source, SourceType

MODEL_SOURCE = Source(
    url="http://vm:8428",
    type=SourceType.VICTORIAMETRICS,
    tenant="1",
    auth_ref=SecretName(name="vm"),
    headers={"X-Shop": "a"},
)


def test_an_empty_source_takes_everything_from_the_one_it_overrides() -> None:
    assert Source().over(MODEL_SOURCE) == MODEL_SOURCE


def test_a_field_that_is_set_overrides_the_others_stay() -> None:
    merged = Source(tenant="2").over(MODEL_SOURCE)
    assert merged.tenant == "2"
    assert merged.auth_ref == SecretName(name="vm")


def test_an_empty_tenant_overrides_too() -> None:
    assert Source(tenant="").over(MODEL_SOURCE).tenant == ""


def test_credentials_do_not_follow_to_another_address() -> None:
    other = Source(url="http://elsewhere:9090")
    assert other.over(MODEL_SOURCE) == other
