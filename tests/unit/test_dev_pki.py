"""Certificates and kubeconfigs of the local cluster."""

import base64
import ipaddress
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from metricwatch_dev.cluster import kubeconfigs, pki
from metricwatch_dev.cluster.layout import API_SERVER_URL, NODE_ADDRESS, Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout(tmp_path_factory.mktemp("cluster"))
    pki.ensure_certificates(made)
    return made


def load(layout: Layout, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(layout.certificate(name).read_bytes())


@pytest.mark.parametrize("identity", pki.IDENTITIES, ids=lambda identity: identity.name)
def test_every_identity_is_signed_by_the_authority_and_names_user_and_group(
    layout: Layout, identity: pki.Identity
) -> None:
    certificate = load(layout, identity.name)
    certificate.verify_directly_issued_by(load(layout, "ca"))
    (user,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert user.value == identity.common_name
    assert [group.value for group in groups] == ([identity.group] if identity.group else [])
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_api_server_is_trusted_at_each_of_its_addresses(layout: Layout) -> None:
    certificate = load(layout, "kube-apiserver")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = names.get_values_for_type(x509.IPAddress)
    wanted = {"127.0.0.1", "10.96.0.1", NODE_ADDRESS}
    assert set(addresses) == {ipaddress.ip_address(address) for address in wanted}
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage


def test_only_the_owner_reads_keys_and_kubeconfigs(layout: Layout) -> None:
    kubeconfigs.write_kubeconfigs(layout)
    private = [*layout.pki.glob("*.key"), layout.kubeconfig]
    private += layout.configuration.glob("*.kubeconfig")
    assert len(private) > len(pki.IDENTITIES)
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}


def test_certificates_are_made_once(layout: Layout) -> None:
    before = layout.certificate("ca").read_bytes()
    pki.ensure_certificates(layout)
    assert layout.certificate("ca").read_bytes() == before


def test_a_kubeconfig_is_complete_in_itself(layout: Layout) -> None:
    kubeconfigs.write_kubeconfigs(layout)
    written = json.loads(layout.kubeconfig.read_text())
    (cluster,) = written["clusters"]
    assert cluster["cluster"]["server"] == API_SERVER_URL
    user = written["users"][0]["user"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
