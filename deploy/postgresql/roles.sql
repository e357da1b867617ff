-- The two roles and the database of a hub, made once by a superuser. Run by psql:
--
--   CENTRAL_HUB_OWNER_PASSWORD=… CENTRAL_HUB_ROLE_PASSWORD=… psql -f deploy/postgresql/roles.sql
--
-- The owner makes and changes the tables (`central-hub migrate`). The hub runs as the other role, which the migration
-- grants what it needs: it can add to the audit log and can neither change nor remove what stands there.
-- Other names: -v owner=… -v role=… -v database=…

\set ON_ERROR_STOP on
\getenv owner_password CENTRAL_HUB_OWNER_PASSWORD
\getenv role_password CENTRAL_HUB_ROLE_PASSWORD
\if :{?owner}
\else
  \set owner central_hub_owner
\endif
\if :{?role}
\else
  \set role central_hub
\endif
\if :{?database}
\else
  \set database central_hub
\endif

-- Never as a hash of an older kind, whatever the server's default is.
SET password_encryption = 'scram-sha-256';
-- The statements below hold passwords: they must not reach the server's log.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';

CREATE ROLE :"owner" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'owner_password';
CREATE ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'role_password';
CREATE DATABASE :"database" OWNER :"owner" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"role";
