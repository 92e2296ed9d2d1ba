-- Run once, on an empty server, as a superuser; psql takes the passwords from its environment.
--
-- modelward_owner     owns the database and the tables; `modelward migrate` connects as it
-- modelward           what the server connects as: it owns nothing, and has no right before it
--                     takes one of the two roles below for the length of a transaction
-- modelward_app       one tenant's rows, by row-level security
-- modelward_platform  every tenant's rows, for operators and for the check of a credential

\getenv owner_password MODELWARD_OWNER_PASSWORD
\getenv login_password MODELWARD_LOGIN_PASSWORD

CREATE ROLE modelward_app NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
CREATE ROLE modelward_platform NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
CREATE ROLE modelward_owner LOGIN NOBYPASSRLS IN ROLE modelward_app, modelward_platform PASSWORD :'owner_password';
CREATE ROLE modelward LOGIN NOINHERIT NOBYPASSRLS IN ROLE modelward_app, modelward_platform PASSWORD :'login_password';

CREATE DATABASE modelward OWNER modelward_owner;
REVOKE ALL ON DATABASE modelward FROM PUBLIC;
GRANT CONNECT ON DATABASE modelward TO modelward;
