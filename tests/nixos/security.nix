# Who is let in: TLS on every port, a certificate for what changes something, no password less than a good one.
{
  testScript = ''
    start_cluster()

    with subtest("PostgreSQL answers nothing without TLS"):
        code, output = client.execute(
            "PGPASSWORD=$(jq -r .users.app /etc/pgha-test/secrets.json) timeout 10 psql -XAtq "
            "'host=haproxy port=5000 dbname=app user=app sslmode=disable' -c 'select 1' 2>&1"
        )
        assert code != 0 and "no encryption" in output, f"without TLS: {output}"

    with subtest("the superuser cannot come in from outside, whatever the password"):
        code, output = client.execute(
            "PGPASSWORD=$(jq -r .superuser /etc/pgha-test/secrets.json) timeout 10 psql -XAtq "
            "'host=haproxy port=5000 dbname=postgres user=postgres sslmode=require' -c 'select 1' 2>&1"
        )
        assert code != 0 and "rejects connection" in output, f"as superuser: {output}"

    with subtest("a wrong password is refused"):
        code, output = client.execute(
            "PGPASSWORD=wrong timeout 10 psql -XAtq 'host=haproxy port=5000 dbname=app user=app sslmode=require' -c 'select 1' 2>&1"
        )
        assert code != 0 and "authentication failed" in output, output

    with subtest("Patroni tells its state to whoever may reach it, and is changed only with a certificate"):
        rest = "https://pg-1:8008"
        client.succeed(f"curl -sf --cacert /etc/pgha-test/haproxy/tls/ca.crt {rest}/patroni")
        code = client.succeed(
            f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/pgha-test/haproxy/tls/ca.crt "
            f"-X PATCH -d '{{\"pause\": null}}' {rest}/config"
        )
        assert code.strip() == "403", f"without a certificate: {code}"

    with subtest("etcd talks to no one without a certificate of the cluster's CA"):
        # From a machine that the firewall lets through, so that it is the certificate that decides.
        certificate = "--cert /run/pgha/patroni/etcd-client.crt --key /run/pgha/patroni/etcd-client.key"
        ask = "curl -sf --max-time 5 --cacert /run/pgha/tls/ca.crt https://etcd-1:2379/version"
        POSTGRES[0].succeed(f"{ask} {certificate}")
        POSTGRES[0].fail(ask)

    with subtest("the stats page wants its password"):
        page = "https://haproxy:7000/"
        code = client.succeed(f"curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/pgha-test/haproxy/tls/ca.crt {page}")
        assert code.strip() == "401", f"without a password: {code}"

    with subtest("nobody but root reads a key, and PostgreSQL's are its own"):
        for machine in POSTGRES:
            stat = machine.succeed("stat -Lc '%a %U' /run/pgha/postgresql/server.key /run/pgha/ssh/ssh_host_ed25519_key")
            assert stat.split("\n")[:2] == ["600 postgres", "600 root"], stat
  '';
}
