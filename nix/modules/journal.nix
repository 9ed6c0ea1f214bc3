# The journal outlives the machine's root: it is kept on the data disk.
{ config, lib, ... }:

let
  cfg = config.services.pgha;
in
{
  config = lib.mkIf cfg.enable {
    environment.etc."systemd/journald.conf.d/pgha.conf".source =
      "${cfg.payload}/lib/systemd/journald.conf.d/pgha.conf";
  };
}
