# The pgBackRest repository.
{
  services.pgha = {
    enable = true;
    role = "backup";
  };
}
