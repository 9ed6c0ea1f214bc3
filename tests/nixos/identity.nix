# No identity, a broken one, one for another role: nothing of the role starts, and the reason is one line.
let
  # The payload's unit takes the credential that the test machine's own drop-in names; these come after it.
  identity = archive: { lib, ... }: {
    services.pgha.dropIns."pgha-identity.service" = lib.mkAfter ''
      LoadCredential=
      ${archive}
    '';
  };
in
{
  without = [
    "etcd-2"
    "etcd-3"
    "pg-2"
    "pg-3"
  ];

  extra = {
    # Nothing at all.
    etcd-1 = identity "";
    pg-1 =
      { pkgs, ... }:
      {
        imports = [
          (identity "LoadCredential=pgha.identity:${
            pkgs.runCommandLocal "broken.tar" { } ''
              head -c 5000 ${../../images/node/README.md} > "$out"
            ''
          }")
        ];
      };
    # haproxy keeps its own, which the script swaps for a foreign and a forged one: alone of the roles it needs no etcd
    # to have finished its boot, which the driver waits for before a command.
  };

  testScript = ''
    start_all()
    WAIT = "systemctl is-failed pgha-identity.service"

    def reason(machine) -> str:
        machine.wait_until_succeeds(WAIT, timeout=60)
        lines = machine.succeed("journalctl -b -u pgha-identity.service -o cat | grep '^identity '").splitlines()
        assert len(lines) == 1, lines
        return lines[0]

    def nothing_ran(machine, units: list[str]) -> None:
        for unit in units:
            started = machine.succeed(f"systemctl show -P ExecMainStartTimestampMonotonic {unit}").strip()
            assert started == "0", f"{machine.name}: {unit} was started"

    with subtest("without an identity the machine says what it looked for"):
        assert re.match("identity missing: no credential pgha.identity, no drive PGHA-IDENT, no file", reason(etcd_1)), reason(etcd_1)
        nothing_ran(etcd_1, ["etcd.service", "sshd.service", "chronyd.service", "pgha-firewall.service"])

    with subtest("a broken archive is refused as one"):
        assert reason(pg_1).startswith("identity broken: "), reason(pg_1)
        nothing_ran(pg_1, ["patroni.service", "pgbackrest.service", "sshd.service"])

    with subtest("a good one starts the role"):
        haproxy.wait_for_unit("pgha-identity.service")
        haproxy.wait_until_succeeds("hostname | grep -x haproxy")

    LOAD = "$(systemctl show -P ExecStart pgha-identity.service | sed -n 's/.*path=\\([^ ;]*\\).*/\\1/p')"

    with subtest("one for another role is refused, and the machine stays who it is"):
        archive = haproxy.succeed("systemctl cat pgha-identity.service | sed -n 's/^LoadCredential=pgha.identity://p'").strip()
        before = haproxy.succeed("readlink /run/pgha")
        haproxy.succeed(f"mkdir /tmp/i && tar -C /tmp/i -xf {archive}")
        haproxy.succeed("sed -i s/PGHA_ROLE=haproxy/PGHA_ROLE=etcd/ /tmp/i/identity.env")
        forged = "cd /tmp/i && tar -cf /tmp/forged.tar *"
        haproxy.succeed(forged)
        output = haproxy.fail(f"{LOAD} /tmp/forged.tar 2>&1")
        assert "identity broken: wrong checksum: " in output, output
        haproxy.succeed("cd /tmp/i && sha256sum $(cut -c67- SHA256SUMS) > /tmp/sums && mv /tmp/sums SHA256SUMS", forged)
        output = haproxy.fail(f"{LOAD} /tmp/forged.tar 2>&1")
        assert "identity is foreign: role etcd, this image is haproxy" in output, output
        assert haproxy.succeed("readlink /run/pgha") == before
  '';
}
