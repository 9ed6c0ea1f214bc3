# A machine on the network that the inventory does not name reaches nothing.
{
  outsiders = {
    client = "10.79.0.100";
    stranger = "10.79.0.200";
  };

  testScript = ''
    start_cluster()
    PORTS = {
        "etcd": (22, 2379, 2380),
        "pg": (22, 5432, 8008, 8432),
        "haproxy": (22, 5000, 5001, 7000),
    }
    hosts = [line.split()[:2] for line in stranger.succeed("grep -E '^10[.]79' /etc/hosts").splitlines()]
    hosts = [(address, name) for address, name in hosts if name.partition("-")[0] in PORTS]
    assert len(hosts) == 7, hosts

    with subtest("no port of any machine answers a stranger"):
        for address, name in hosts:
            for port in PORTS[name.partition("-")[0]]:
                code, _ = stranger.execute(f"timeout 3 nc -z -w 1 {address} {port}")
                assert code != 0, f"{name}:{port} answers a stranger"

    with subtest("the same ports do answer those that the inventory names"):
        for address, name in hosts:
            client.succeed(f"nc -z -w 3 {address} 22")
        client.succeed("nc -z -w 3 haproxy 5000", "nc -z -w 3 haproxy 5001", "nc -z -w 3 haproxy 7000")

    with subtest("the client may ask Patroni but not be an etcd peer"):
        client.succeed("nc -z -w 3 pg-1 8008")
        client.fail("nc -z -w 1 etcd-1 2380")
  '';
}
